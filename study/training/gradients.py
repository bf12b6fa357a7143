"""The gradient of a stack's training loss, written out by hand into buffers that are reused.

Symbols, for each model: B samples in the batch, residual r = f(z) - x, z = mu + s * noise with
s = exp(log variance / 2), beta the weight of the KL divergence, sigma^2 the decoder's variance.

- implied variance: loss = mean over the batch of (sum of r^2 + beta KL);
- learned variance: loss = D/2 log(2 pi sigma^2) + mean of (sum of r^2 / (2 sigma^2) + beta KL).

The loss of a stack is the sum over its models, so no model's gradient sees another model.

A step is a list of operations, each bound once to the tensors it reads and writes: repeating them
costs no views, no shape checks in Python and no memory, and a CUDA graph can record them. Samples
come last in every tensor (see `study.training.epoch`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float32
from torch import Tensor

from study.config import Activation
from study.training.epoch import Batch
from study.training.layout import LOG_VARIANCE
from study.training.vae import Layer, ParameterStack, StackedVAE, zero_parameters

aten = torch.ops.aten
Operation = Callable[[], object]


@dataclass(frozen=True, slots=True)
class ActivationPair:
    """An activation that writes into given tensors, and its derivative.

    Parameters
    ----------
    forward : callable
        ``forward(inputs, out=out)``.
    backward : callable
        ``backward(grad, saved, grad_input=out)`` with the gradient of the outputs, and the inputs
        if `saves_inputs`, else the outputs.
    saves_inputs : bool
        Whether its derivative needs the inputs.
    """

    forward: Callable[..., object]
    backward: Callable[..., object]
    saves_inputs: bool = False


def relu(inputs: Tensor, *, out: Tensor) -> object:
    """Write the positive part."""
    return torch.clamp_min(inputs, 0, out=out)


def relu_backward(grad: Tensor, saved: Tensor, *, grad_input: Tensor) -> object:
    """Write the gradient by the inputs of `relu`, given its outputs."""
    return aten.threshold_backward.grad_input(grad, saved, 0, grad_input=grad_input)


def _elu_backward(grad: Tensor, saved: Tensor, *, grad_input: Tensor) -> object:
    return aten.elu_backward.grad_input(grad, 1, 1, 1, True, saved, grad_input=grad_input)


def _softplus_backward(grad: Tensor, saved: Tensor, *, grad_input: Tensor) -> object:
    return aten.softplus_backward.grad_input(grad, saved, 1, 20, grad_input=grad_input)


ACTIVATION_PAIRS: dict[Activation, ActivationPair] = {
    "relu": ActivationPair(relu, relu_backward),
    "tanh": ActivationPair(aten.tanh.out, aten.tanh_backward.grad_input),
    "elu": ActivationPair(aten.elu.out, _elu_backward),
    "gelu": ActivationPair(aten.gelu.out, aten.gelu_backward.grad_input, saves_inputs=True),
    "silu": ActivationPair(aten.silu.out, aten.silu_backward.grad_input, saves_inputs=True),
    "softplus": ActivationPair(aten.softplus.out, _softplus_backward, saves_inputs=True),
}


class HiddenBuffers:
    """What the hidden layers of one half of the autoencoder leave behind, for one batch size.

    Parameters
    ----------
    grads : sequence of Tensor of shape (n_models, width, n_samples)
        Scratch for the gradient of each hidden layer, and before for what need not be saved.
    activation : ActivationPair

    Attributes
    ----------
    inputs, outputs : sequence of Tensor of shape (n_models, width, n_samples)
        Of each activation.
    saved : sequence of Tensor
        Which of the two the derivative needs.
    """

    def __init__(self, grads: Sequence[Tensor], activation: ActivationPair) -> None:
        self.activation = activation
        self.grads = grads
        self.outputs = [torch.empty_like(grad) for grad in grads]
        saves_inputs = activation.saves_inputs
        self.inputs = [torch.empty_like(grad) for grad in grads] if saves_inputs else grads
        self.saved = self.inputs if saves_inputs else self.outputs


def _product(left: Tensor, right: Tensor, out: Tensor) -> Operation:
    """Multiply each model's matrices; one model takes the plain product, which is faster."""
    if len(out) == 1:
        return partial(torch.mm, left[0], right[0], out=out[0])
    return partial(torch.bmm, left, right, out=out)


def _affine(layer: Layer, values: Tensor, out: Tensor) -> Operation:
    weight, bias = layer.weight.transpose(1, 2), layer.bias.transpose(1, 2)
    if len(out) == 1:
        return partial(torch.addmm, bias[0], weight[0], values[0], out=out[0])
    return partial(torch.baddbmm, bias, weight, values, out=out)


def forward_operations(
    layers: Sequence[Layer], hidden: HiddenBuffers, values: Tensor, *, out: Tensor
) -> list[Operation]:
    """List what computes one half of the autoencoder.

    Parameters
    ----------
    layers : sequence of Layer
    hidden : HiddenBuffers
    values : Tensor of shape (n_models, n_inputs, n_samples)
    out : Tensor of shape (n_models, n_outputs, n_samples)
        Contiguous.

    Returns
    -------
    list of callable
    """
    operations: list[Operation] = []
    for layer, before, after in zip(layers, hidden.inputs, hidden.outputs, strict=False):
        operations.append(_affine(layer, values, before))
        operations.append(partial(hidden.activation.forward, before, out=after))
        values = after
    return [*operations, _affine(layers[-1], values, out)]


def backward_operations(
    layers: Sequence[Layer],
    gradients: Sequence[Layer],
    hidden: HiddenBuffers,
    values: Tensor,
    *,
    grad: Tensor,
    values_grad: Tensor | None = None,
) -> list[Operation]:
    """List what differentiates one half of the autoencoder.

    Parameters
    ----------
    layers, gradients : sequence of Layer
        The parameters, and where their gradients are written.
    hidden : HiddenBuffers
    values : Tensor of shape (n_models, n_inputs, n_samples)
        What the forward pass was given.
    grad : Tensor of shape (n_models, n_outputs, n_samples)
        Gradient of the loss by the outputs.
    values_grad : Tensor of shape (n_models, n_inputs, n_samples), optional
        Where to write the gradient by the inputs.

    Returns
    -------
    list of callable
    """
    operations: list[Operation] = []
    for index in range(len(layers) - 1, -1, -1):
        inputs = hidden.outputs[index - 1] if index else values
        target = gradients[index]
        operations.append(partial(torch.sum, grad, dim=2, out=target.bias[:, 0]))
        operations.append(_product(inputs, grad.transpose(1, 2), target.weight))
        inputs_grad = hidden.grads[index - 1] if index else values_grad
        if inputs_grad is not None:
            operations.append(_product(layers[index].weight, grad, inputs_grad))
        if index and inputs_grad is not None:
            derive, saved = hidden.activation.backward, hidden.saved[index - 1]
            operations.append(partial(derive, inputs_grad, saved, grad_input=inputs_grad))
            grad = inputs_grad
    return operations


class BatchScratch:
    """Buffers of a step that batches of one size share.

    Parameters
    ----------
    vae : StackedVAE
    half_kl_weights : Tensor of shape (n_models, 1, 1)
        beta / 2.
    n_samples : int
        Samples in the batch.
    """

    def __init__(self, vae: StackedVAE, half_kl_weights: Tensor, *, n_samples: int) -> None:
        def empty(width: int) -> Tensor:
            return torch.empty(vae.n_models, width, n_samples, device=vae.device)

        latent_dim = vae.model.latent_dim
        self.std, self.shift, self.latents, self.latents_grad, self.scaled = (
            empty(latent_dim) for _ in range(5)
        )
        # Factors are tensors: a Python number costs more than the product at these sizes.
        self.half = torch.full((1, 1, 1), 0.5, device=vae.device)
        self.slope = torch.full((1, 1, 1), 2 / n_samples, device=vae.device)
        self.kl_weight = half_kl_weights / n_samples
        self.minus_kl_weight = -self.kl_weight
        self.heads_grad = empty(2 * latent_dim)
        self.means_grad = empty(vae.dim)
        # The decoder's widths are the encoder's reversed, so both use one set of gradients.
        grads = [empty(width) for width in vae.model.hidden]
        activation = ACTIVATION_PAIRS[vae.model.activation]
        self.encoder = HiddenBuffers(grads, activation)
        self.decoder = HiddenBuffers(grads[::-1], activation)


class GradientPass:
    """Loss gradients of a stack, for batches of any size.

    Parameters
    ----------
    vae : StackedVAE
    kl_weights : Tensor of shape (n_models,)
        beta of each model.

    Attributes
    ----------
    gradients : ParameterStack
        Written by the operations.
    """

    def __init__(self, vae: StackedVAE, kl_weights: Float32[Tensor, " models"]) -> None:
        self.gradients: ParameterStack = zero_parameters(
            vae.model, n_models=vae.n_models, dim=vae.dim, device=vae.device
        )
        self._vae = vae
        self._half_kl_weights = kl_weights.view(-1, 1, 1) / 2
        self._scratch: dict[int, BatchScratch] = {}

    def operations(self, batch: Batch) -> list[Operation]:
        """List what writes the gradient of the loss over one batch into `gradients`.

        Parameters
        ----------
        batch : Batch
            Its heads and residual are overwritten too.

        Returns
        -------
        list of callable
            To be called in order, as often as the batch's numbers change.
        """
        n_samples = batch.points.shape[2]
        if n_samples not in self._scratch:
            self._scratch[n_samples] = BatchScratch(
                self._vae, self._half_kl_weights, n_samples=n_samples
            )
        scratch = self._scratch[n_samples]
        parameters, gradients = self._vae.parameters, self.gradients
        encoder, decoder = scratch.encoder, scratch.decoder
        mu, log_variance = batch.heads.chunk(2, dim=1)
        return [
            *forward_operations(parameters.encoder, encoder, batch.points, out=batch.heads),
            partial(torch.mul, log_variance, scratch.half, out=scratch.std),
            partial(torch.exp, scratch.std, out=scratch.std),
            partial(torch.mul, scratch.std, batch.noise, out=scratch.shift),
            partial(torch.add, mu, scratch.shift, out=scratch.latents),
            *forward_operations(parameters.decoder, decoder, scratch.latents, out=batch.residual),
            partial(torch.sub, batch.residual, batch.points, out=batch.residual),
            self._means_grad(batch.residual, scratch),
            *backward_operations(
                parameters.decoder,
                gradients.decoder,
                decoder,
                scratch.latents,
                grad=scratch.means_grad,
                values_grad=scratch.latents_grad,
            ),
            *_heads_grad(mu, scratch),
            *backward_operations(
                parameters.encoder,
                gradients.encoder,
                encoder,
                batch.points,
                grad=scratch.heads_grad,
            ),
        ]

    def _means_grad(self, residual: Tensor, scratch: BatchScratch) -> Operation:
        """Differentiate the reconstruction term by the decoder's means (and its variance)."""
        n_samples, out = residual.shape[2], scratch.means_grad
        if self._vae.model.decoder_variance == "implied":
            return partial(torch.mul, residual, scratch.slope, out=out)
        log_variance = self._vae.parameters.views[LOG_VARIANCE]
        log_variance_grad = self.gradients.views[LOG_VARIANCE]

        def differentiate() -> None:
            torch.mul(residual, torch.exp(-log_variance) / n_samples, out=out)
            # d/ds of D s / 2 + exp(-s) sum of r^2 / (2 B), with s = log sigma^2.
            weighted_error = (residual * out).flatten(1).sum(dim=1).view(-1, 1, 1)
            torch.div(self._vae.dim - weighted_error, 2, out=log_variance_grad)

        return differentiate


def _heads_grad(mu: Tensor, scratch: BatchScratch) -> list[Operation]:
    """Differentiate the loss by mu and the log variance of q(z|x)."""
    mu_grad, log_variance_grad = scratch.heads_grad.chunk(2, dim=1)
    weight, minus_weight = scratch.kl_weight, scratch.minus_kl_weight
    latents_grad, scaled, shift = scratch.latents_grad, scratch.scaled, scratch.shift
    return [
        partial(torch.addcmul, latents_grad, mu, weight, value=2, out=mu_grad),
        # d/d(log variance): KL term beta / 2 (s^2 - 1); through z, noise * s / 2.
        partial(torch.mul, scratch.std, weight, out=scaled),
        partial(torch.addcmul, minus_weight, scaled, scratch.std, out=scaled),
        partial(torch.addcmul, scaled, latents_grad, shift, value=0.5, out=log_variance_grad),
    ]
