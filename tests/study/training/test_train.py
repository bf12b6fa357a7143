"""The training loop: independence of models, divergence, limits and the closed forms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from study.config import MixtureConfig, ModelConfig, TrainingConfig
from study.data.mixture import draw_mixture, draw_training_points
from study.training.epoch import EpochBuffers, kl_per_latent
from study.training.fitted import FittedVAE, Member
from study.training.generate import encode_points, heldout_losses
from study.training.gradients import GradientPass
from study.training.program import flushed_denormals
from study.training.train import (
    Checkpoint,
    TrainedStack,
    checkpoint_epochs,
    train,
    train_checkpoints,
)
from study.training.vae import StackedVAE

SMALL = ModelConfig(latent_dim=2, hidden=(16,))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _members(n_models: int) -> list[Member]:
    return [
        Member(
            data_seed=i,
            init_seed=10 + i,
            kl_weight=0.5 * (1 + i % 3),
            learning_rate=(1e-3, 1e-3, 3e-3)[i % 3],
            standardize=i % 4 == 3,
        )
        for i in range(n_models)
    ]


def _points(n_models: int, n_samples: int = 300, dim: int = 3) -> np.ndarray:
    rng = np.random.default_rng(0)
    return 3 * rng.standard_normal((n_models, n_samples, dim))


def _train(
    points: np.ndarray,
    members: Sequence[Member],
    model: ModelConfig = SMALL,
    **training: object,
) -> TrainedStack:
    settings = {"epochs": 2, "batch_size": 64, **training}
    config = TrainingConfig(**settings)  # type: ignore[arg-type]
    return train(points, members, model=model, training=config)


def _assert_equal_models(stack: TrainedStack, i: int, other: TrainedStack, j: int) -> None:
    np.testing.assert_array_equal(stack.train_recon[i], other.train_recon[j])
    np.testing.assert_array_equal(stack.train_kl_nats[i], other.train_kl_nats[j])
    state, other_state = stack.fitted.state(i), other.fitted.state(j)
    for name, values in state.items():
        np.testing.assert_array_equal(values, other_state[name], err_msg=name)
    for mine, theirs in zip(stack.checkpoints, other.checkpoints, strict=True):
        np.testing.assert_array_equal(mine.active_units[i], theirs.active_units[j])
        np.testing.assert_array_equal(mine.kl_per_latent[i], theirs.kl_per_latent[j])


@pytest.mark.parametrize("latent_dim", [1, 2, 8])
@pytest.mark.parametrize("hidden", [(), (16,), (10, 7), (128, 128)])
def test_stack_of_five_equals_five_stacks_of_one_to_the_bit(
    latent_dim: int, hidden: tuple[int, ...]
) -> None:
    model = ModelConfig(latent_dim=latent_dim, hidden=hidden)
    points, members = _points(5), _members(5)  # 300 = 4 x 64 + 44: a last short batch
    together = _train(points, members, model)
    for index in range(5):
        alone = _train(points[index : index + 1], members[index : index + 1], model)
        _assert_equal_models(together, index, alone, 0)


@pytest.mark.parametrize(
    "model",
    [
        ModelConfig(hidden=(128, 128), decoder_variance="learned"),
        ModelConfig(hidden=(24,), activation="gelu"),
        ModelConfig(hidden=(24,), activation="softplus"),
        ModelConfig(hidden=(1, 5), latent_dim=1),
    ],
    ids=str,
)
@pytest.mark.parametrize("dim", [1, 5])
def test_other_models_are_independent_of_their_stack_too(model: ModelConfig, dim: int) -> None:
    # 129 = 2 x 64 + 1: a last batch of one point.
    points, members = _points(4, n_samples=129, dim=dim), _members(4)
    together = _train(points, members, model)
    for index in range(4):
        alone = _train(points[index : index + 1], members[index : index + 1], model)
        _assert_equal_models(together, index, alone, 0)


ODD_SHAPES = [
    # hidden, latent_dim, dim, n_samples, batch_size
    ((10, 7), 1, 3, 108, 64),
    ((33,), 3, 5, 101, 50),
    ((17, 31, 9), 2, 7, 131, 26),
    ((128, 128), 2, 3, 172, 128),
    ((1,), 1, 1, 9, 4),
]


@pytest.mark.parametrize("n_models", [2, 3, 5, 16, 17])
@pytest.mark.parametrize(("hidden", "latent_dim", "dim", "n_samples", "batch_size"), ODD_SHAPES)
def test_odd_shapes_are_independent_of_the_stack_size(
    hidden: tuple[int, ...],
    latent_dim: int,
    dim: int,
    n_samples: int,
    batch_size: int,
    n_models: int,
) -> None:
    model = ModelConfig(latent_dim=latent_dim, hidden=hidden)
    points, members = _points(n_models, n_samples=n_samples, dim=dim), _members(n_models)
    together = _train(points, members, model, batch_size=batch_size)
    for index in {0, 1, n_models // 2, n_models - 1}:
        one = slice(index, index + 1)
        alone = _train(points[one], members[one], model, batch_size=batch_size)
        _assert_equal_models(together, index, alone, 0)


@pytest.mark.parametrize("offset", [1, 3, 5])
def test_where_the_points_lie_in_memory_does_not_matter(offset: int) -> None:
    model = ModelConfig(latent_dim=2, hidden=(10, 7))
    points, members = _points(2, n_samples=108), _members(2)
    memory = np.zeros(points.size + offset)
    moved = memory[offset:].reshape(points.shape)
    moved[:] = points
    first, second = _train(points, members, model), _train(moved, members, model)
    _assert_equal_models(first, 1, second, 1)
    codes = [
        encode_points(stack.fitted, 1, values[1])
        for stack, values in ((first, points), (second, moved))
    ]
    np.testing.assert_array_equal(*codes)


@pytest.mark.parametrize("decoder_variance", ["implied", "learned"])
def test_one_program_of_several_models_agrees(
    decoder_variance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, where a stack is one program: the same numbers but for rounding."""
    model = ModelConfig(hidden=(16, 8), decoder_variance=decoder_variance)  # type: ignore[arg-type]
    points, members = _points(5), _members(5)
    apart = _train(points, members, model)
    monkeypatch.setattr(
        "study.training.train.models_per_program", lambda device, n_models: n_models
    )
    together = _train(points, members, model)
    np.testing.assert_allclose(together.train_recon, apart.train_recon, rtol=1e-4)
    np.testing.assert_allclose(together.train_kl_nats, apart.train_kl_nats, rtol=1e-3, atol=1e-5)
    flats = [stack.fitted.vae.parameters.flat for stack in (together, apart)]
    torch.testing.assert_close(*flats, rtol=0, atol=1e-3)
    for mine, theirs in zip(together.checkpoints, apart.checkpoints, strict=True):
        np.testing.assert_array_equal(mine.active_units, theirs.active_units)


@pytest.mark.slow
@pytest.mark.parametrize("n_models", [3, 16, 32])
def test_original_shape_is_independent_of_the_stack_size(n_models: int) -> None:
    points, members = _points(n_models, n_samples=1_000), _members(n_models)
    together = _train(points, members, ModelConfig(), batch_size=128)
    for index in (0, 1, n_models - 1):
        alone = _train(
            points[index : index + 1], members[index : index + 1], ModelConfig(), batch_size=128
        )
        _assert_equal_models(together, index, alone, 0)


def test_order_in_the_stack_does_not_matter() -> None:
    points, members = _points(4), _members(4)
    forward = _train(points, members)
    backward = _train(points[::-1].copy(), members[::-1])
    for index in range(4):
        _assert_equal_models(forward, index, backward, 3 - index)


def test_divergence_of_one_model_touches_no_other() -> None:
    points, members = _points(3), _members(3)
    healthy = _train(points, members, epochs=3)
    members[1] = Member(data_seed=1, init_seed=11, learning_rate=1e30)
    stack = _train(points, members, epochs=3)
    assert stack.diverged_epoch.tolist() == [0, 1, 0]
    assert not np.isfinite(stack.train_recon[1]).all()
    for index in (0, 2):
        _assert_equal_models(stack, index, healthy, index)


def test_training_stops_when_all_have_diverged() -> None:
    members = [Member(data_seed=i, init_seed=0, learning_rate=1e30) for i in range(2)]
    stack = _train(_points(2), members, epochs=50)
    assert (stack.diverged_epoch > 0).all()
    assert stack.n_epochs_done < 50
    assert np.isnan(stack.train_recon[:, stack.n_epochs_done :]).all()


def test_training_stops_at_its_time_limit() -> None:
    stack = _train(_points(1), _members(1), epochs=500, timeout_min=1e-9)
    assert stack.timed_out
    assert stack.n_epochs_done == 1
    assert not _train(_points(1), _members(1)).timed_out


@pytest.mark.parametrize(
    ("checkpoints", "epochs", "expected"),
    [
        (10, 100, set(range(10, 101, 10))),
        (10, 5, {5}),
        ((1, 3, 40), 4, {1, 3, 4}),
        (2, 5, {2, 4, 5}),
    ],
)
def test_checkpoints_always_hold_the_last_epoch(
    checkpoints: int | tuple[int, ...], epochs: int, expected: set[int]
) -> None:
    wanted = checkpoint_epochs(TrainingConfig(epochs=epochs, checkpoints=checkpoints))
    assert {epoch for epoch in wanted if epoch <= epochs} == expected


def test_checkpoints_see_the_stack_as_it_stands() -> None:
    seen: list[tuple[int, float]] = []

    def look(checkpoint: Checkpoint, fitted: FittedVAE) -> None:
        seen.append((checkpoint.epoch, float(fitted.vae.parameters.flat.abs().sum())))

    config = TrainingConfig(epochs=4, batch_size=64, checkpoints=(1, 3))
    stack = train(_points(2), _members(2), model=SMALL, training=config, on_checkpoint=look)
    assert [epoch for epoch, _ in seen] == [1, 3, 4]
    assert len({size for _, size in seen}) == 3
    assert [c.epoch for c in stack.checkpoints] == [1, 3, 4]
    np.testing.assert_array_equal(stack.checkpoints[1].recon, stack.train_recon[:, 2])
    np.testing.assert_array_equal(stack.checkpoints[2].kl_nats, stack.train_kl_nats[:, 3])


def test_abandoned_training_leaves_nothing_behind() -> None:
    steps = train_checkpoints(_points(1), _members(1), model=SMALL, training=TrainingConfig())
    next(steps)
    steps.close()
    assert torch.is_grad_enabled()


def test_denormal_numbers_are_flushed_while_training_only() -> None:
    _train(_points(1), _members(1), epochs=1)
    assert torch.tensor(1e-38) / 10 != 0
    with flushed_denormals():
        assert torch.tensor(1e-38) / 10 == 0
        with flushed_denormals():
            pass
        assert torch.tensor(1e-38) / 10 == 0


def test_keys_shuffle_as_a_gpu_does() -> None:
    points = torch.as_tensor(_points(2, n_samples=50).astype(np.float32))
    drawn = []
    for models in (slice(0, 2), slice(1, 2)):
        buffers = EpochBuffers(points[models], _members(2)[models], latent_dim=2, batch_size=16)
        buffers._shuffle_by_keys()
        drawn.append(torch.cat([batch.points for batch in buffers.batches], dim=2))
    sorted_points = points.transpose(1, 2).sort(dim=2).values
    torch.testing.assert_close(drawn[0].sort(dim=2).values, sorted_points)
    assert not torch.equal(drawn[0], points.transpose(1, 2))
    assert torch.equal(drawn[0][1], drawn[1][0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_agrees_at_first_and_in_distribution() -> None:
    """Other random numbers, so only laws can be compared: means over 32 models, 5 sigma."""
    points, members = (
        _points(32, n_samples=1_000),
        [Member(data_seed=i, init_seed=i) for i in range(32)],
    )
    config = TrainingConfig(epochs=5, batch_size=128)
    by_device = [
        train(points, members, model=ModelConfig(), training=config, device=device)
        for device in ("cpu", "cuda")
    ]
    for epoch in (0, 4):
        cpu, gpu = (stack.train_recon[:, epoch] for stack in by_device)
        # Same data and initial weights: only shuffling and noise differ.
        assert abs((gpu - cpu).mean()) < 5 * (gpu - cpu).std() / 32**0.5 + 1e-3
    assert (by_device[1].diverged_epoch == 0).all()


def test_epoch_means_are_weighted_by_batch_size() -> None:
    """At learning rate 0 an epoch's mean is the whole data set's, whatever the batches."""
    points = _points(1, n_samples=150)
    member = Member(data_seed=0, init_seed=0, learning_rate=0.0)
    whole = _train(points, [member], epochs=1, batch_size=150)
    pieces = _train(points, [member], epochs=1, batch_size=64)
    np.testing.assert_allclose(whole.train_recon, pieces.train_recon, rtol=1e-6)
    np.testing.assert_allclose(whole.train_kl_nats, pieces.train_kl_nats, rtol=1e-6)


def test_every_epoch_sees_each_point_once_in_a_new_order() -> None:
    points = torch.as_tensor(_points(2, n_samples=50).astype(np.float32))
    buffers = EpochBuffers(points, _members(2), latent_dim=2, batch_size=16)
    seen = []
    for _ in range(2):
        buffers.draw()
        drawn = torch.cat([batch.points for batch in buffers.batches], dim=2)
        seen.append(drawn.transpose(1, 2))
        torch.testing.assert_close(seen[-1].sort(dim=1).values, points.sort(dim=1).values)
    assert [batch.points.shape[2] for batch in buffers.batches] == [16, 16, 16, 2]
    assert not torch.equal(seen[0], seen[1])


def test_kl_is_torchs() -> None:
    mu, log_variance = torch.randn(2, 2, 7, 3, generator=torch.Generator().manual_seed(0))
    posterior = torch.distributions.Normal(mu, (log_variance / 2).exp())
    prior = torch.distributions.Normal(0.0, 1.0)
    expected = torch.distributions.kl_divergence(posterior, prior)
    torch.testing.assert_close(kl_per_latent(mu, log_variance), expected, rtol=1e-4, atol=1e-6)


def test_seeds_alone_decide_the_result() -> None:
    points, members = _points(1), _members(1)
    torch.manual_seed(0)
    first = _train(points, members)
    torch.manual_seed(1)
    _assert_equal_models(first, 0, _train(points, members), 0)
    other = _train(points, [Member(data_seed=0, init_seed=99, kl_weight=0.5)])
    assert not np.array_equal(first.train_recon, other.train_recon)


def test_standardized_training_works_in_units_of_its_points() -> None:
    points = _points(1) * [1.0, 10.0, 0.1] + [5.0, 0.0, -3.0]
    stack = _train(points, [Member(data_seed=0, init_seed=0, standardize=True, kl_weight=2.0)])
    fitted = stack.fitted
    np.testing.assert_allclose(fitted.shift[0], points[0].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(fitted.scale[0], points[0].std(axis=0), rtol=1e-12)
    np.testing.assert_allclose(fitted.noise_variance[0], fitted.scale[0] ** 2, rtol=1e-12)
    np.testing.assert_allclose(fitted.to_data(fitted.to_network(points)), points, atol=1e-4)
    whitened = (points - points.mean(axis=1)) / points.std(axis=1)
    same = _train(whitened, [Member(data_seed=0, init_seed=0, kl_weight=2.0)])
    np.testing.assert_allclose(stack.train_recon, same.train_recon, rtol=1e-5)


def test_learned_variance_is_the_best_one() -> None:
    model = ModelConfig(hidden=(), latent_dim=1, decoder_variance="learned")
    stack = _train(
        _points(1), [Member(data_seed=0, init_seed=0, learning_rate=0.02)], model, epochs=250
    )
    # At the optimum sigma^2 = reconstruction / D (Rybkin et al. 2021); 3 % covers Adam's noise.
    assert stack.fitted.decoder_variance[0] == pytest.approx(
        stack.train_recon[0, -1] / 3, rel=0.03
    )


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (_points(2), r"for 1 models.*got \(2, 300, 3\)"),
        (_points(1)[0], "must have shape"),
        (_points(1)[:, :0], "none of them 0"),
        (np.full((1, 5, 3), np.nan), "finite"),
    ],
)
def test_wrong_points_are_refused(points: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _train(points, _members(1))


def test_constant_axis_cannot_be_standardized() -> None:
    points = _points(1)
    points[:, :, 1] = 2.0
    with pytest.raises(ValueError, match="one is constant"):
        _train(points, [Member(data_seed=0, init_seed=0, standardize=True)])


# --- closed forms: the linear autoencoder is probabilistic PCA (reverse water-filling) ---------


def _water_filling(
    eigenvalues: np.ndarray, beta: float, latent_dim: int
) -> tuple[float, float, int]:
    """Return reconstruction, KL and active units of the best linear autoencoder."""
    t = beta / 2
    active = np.sort(eigenvalues)[::-1][:latent_dim]
    active = active[active > t]
    recon = len(active) * t + eigenvalues.sum() - active.sum()
    return float(recon), float(0.5 * np.log(active / t).sum()), len(active)


TABLE = [
    # eigenvalues, beta, latent_dim, reconstruction, KL, active units
    ((4, 1, 0.25), 0.5, 2, 0.750000, 2.079442, 2),
    ((4, 1, 0.25), 1, 1, 1.750000, 1.039721, 1),
    ((4, 1, 0.25), 1, 3, 1.250000, 1.386294, 2),
    ((4, 1, 0.25), 2, 2, 2.250000, 0.693147, 1),
    ((4, 1, 0.25), 4, 2, 3.250000, 0.346574, 1),
    ((4, 1, 0.25), 8, 2, 5.250000, 0.0, 0),
    ((60, 40, 8), 1, 2, 9.000000, 4.584759, 2),
    ((60, 40, 8), 1, 5, 1.500000, 5.971054, 3),
    ((60, 40, 8), 130, 3, 108.0, 0.0, 0),
]


def _optimal_state(eigenvalues: np.ndarray, beta: float, latent_dim: int) -> dict[str, np.ndarray]:
    """Return the best linear autoencoder's parameters for a diagonal covariance."""
    t, dim = beta / 2, len(eigenvalues)
    encoder, decoder = np.zeros((dim, 2 * latent_dim)), np.zeros((latent_dim, dim))
    variance = np.ones(latent_dim)
    for j in range(min(latent_dim, dim)):
        if eigenvalues[j] > t:
            decoder[j, j] = np.sqrt(eigenvalues[j] - t)
            encoder[j, j] = decoder[j, j] / eigenvalues[j]
            variance[j] = t / eigenvalues[j]
    bias = np.concatenate((np.zeros(latent_dim), np.log(variance)))
    arrays = {
        "encoder.0.weight": encoder,
        "encoder.0.bias": bias[None],
        "decoder.0.weight": decoder,
        "decoder.0.bias": np.zeros((1, dim)),
    }
    return {name: values.astype(np.float32) for name, values in arrays.items()}


@pytest.mark.parametrize(("eigenvalues", "beta", "latent_dim", "recon", "kl", "active"), TABLE)
def test_linear_optimum_has_the_closed_form_loss_and_no_gradient(
    eigenvalues: tuple[float, ...],
    beta: float,
    latent_dim: int,
    recon: float,
    kl: float,
    active: int,
) -> None:
    """The expectation over x and noise is exact: all sign combinations of one sigma."""
    spectrum = np.asarray(eigenvalues, dtype=float)
    assert _water_filling(spectrum, beta, latent_dim) == pytest.approx(
        (recon, kl, active), abs=1e-6
    )
    signs = np.array(np.meshgrid(*[[-1.0, 1.0]] * (3 + latent_dim))).reshape(3 + latent_dim, -1).T
    model = ModelConfig(latent_dim=latent_dim, hidden=())
    vae = StackedVAE(model, n_models=1, dim=3)
    vae.load_states([_optimal_state(spectrum, beta, latent_dim)])
    buffers = EpochBuffers(
        torch.as_tensor((signs[:, :3] * np.sqrt(spectrum)).astype(np.float32))[None],
        [Member(data_seed=0, init_seed=0)],
        latent_dim=latent_dim,
        batch_size=len(signs),
    )
    (batch,) = buffers.batches
    batch.points.copy_(torch.as_tensor(signs[:, :3] * np.sqrt(spectrum)).T)
    batch.noise.copy_(torch.as_tensor(signs[:, 3:]).T)
    gradient_pass = GradientPass(vae, torch.tensor([float(beta)]))
    for operation in gradient_pass.operations(batch):
        operation()
    measured_recon, measured_kl = buffers.means()
    assert measured_recon[0] == pytest.approx(recon, rel=1e-4, abs=1e-4)
    assert measured_kl[0] == pytest.approx(kl, rel=1e-4, abs=1e-4)
    assert gradient_pass.gradients.flat.abs().max() < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(("beta", "latent_dim"), [(1.0, 2), (1.0, 5), (0.5, 2), (4.0, 2)])
def test_trained_linear_autoencoder_reaches_the_water_filling(
    beta: float, latent_dim: int
) -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((1, 4_000, 3)) * np.sqrt([4.0, 1.0, 0.25])
    spectrum = np.linalg.eigvalsh(np.cov(points[0].T, ddof=0))
    expected_recon, expected_kl, n_active = _water_filling(spectrum, beta, latent_dim)
    members = [Member(data_seed=0, init_seed=0, kl_weight=beta, learning_rate=1e-2)]
    model = ModelConfig(latent_dim=latent_dim, hidden=())
    stack = _train(points, members, model, epochs=400, batch_size=500)
    # One draw of the noise leaves 1 % in the reconstruction: average it with the last epochs'.
    _, kl_nats, _ = heldout_losses(stack.fitted, 0, points[0])
    assert stack.train_recon[0, -10:].mean() == pytest.approx(expected_recon, rel=0.02)
    assert kl_nats == pytest.approx(expected_kl, rel=0.02)
    assert stack.checkpoints[-1].active_units[0] == n_active


@pytest.mark.slow
def test_collapse_beyond_the_threshold() -> None:
    """beta / 2 = 1.5 lambda_1: nothing is encoded."""
    points, _ = _mixture_points(4_000)
    covariance = np.cov(points.T, ddof=0)
    beta = 3 * float(np.linalg.eigvalsh(covariance)[-1])
    members = [Member(data_seed=0, init_seed=0, kl_weight=beta)]
    stack = _train(points[None], members, ModelConfig(), epochs=30, batch_size=128)
    assert stack.checkpoints[-1].active_units[0] == 0
    assert stack.train_kl_nats[0, -1] < 0.01
    assert stack.train_recon[0, -1] == pytest.approx(np.trace(covariance), rel=0.01)


@pytest.mark.slow
def test_a_wide_latent_space_uses_three_units() -> None:
    """Three-dimensional data: further latent coordinates stay switched off.

    One training in eight ends with a fourth in use: the decoder bends.
    """
    points, _ = _mixture_points(10_000)
    members = [Member(data_seed=0, init_seed=i) for i in range(4)]
    stack = _train(
        np.stack([points] * 4), members, ModelConfig(latent_dim=8), epochs=30, batch_size=128
    )
    active_units = stack.checkpoints[-1].active_units
    assert np.median(active_units) == 3
    assert active_units.min() == 3
    assert active_units.max() <= 4


def _mixture_points(n_samples: int) -> tuple[np.ndarray, np.ndarray]:
    config = MixtureConfig(n_samples=n_samples)
    return draw_training_points(config, draw_mixture(config, 0), 0)
