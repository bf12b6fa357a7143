"""The gradient of a stack's training loss, written out by hand into buffers that are reused.

Symbols, for each model: B samples in the batch, residual r = f(z) - x, z = mu + s * noise with
s = exp(log variance / 2), beta the weight of the KL divergence, sigma^2 the decoder's variance.

- implied variance: loss = mean over the batch of (sum of r^2 + beta KL);
- learned variance: loss = D/2 log(2 pi sigma^2) + mean of (sum of r^2 / (2 sigma^2) + beta KL).

The loss of a stack is the sum over its models, so no model's gradient sees another model.
Autograd gives the same numbers at half the speed: it allocates every intermediate anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float32
from torch import Tensor
from torch.nn import functional

from study.config import Activation
from study.vae import ALIGNMENT, LOG_VARIANCE, Layer, ParameterStack, StackedVAE, multiply

aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class ActivationPair:
    """An activation that writes into given tensors, and its derivative.

    Parameters
    ----------
    forward : callable
        ``forward(inputs, out)``.
    backward : callable
        ``backward(grad, saved, out)`` with the gradient of the outputs, and the inputs if
        `saves_inputs`, else the outputs.
    saves_inputs : bool
        Whether inputs and outputs need separate buffers.
    """

    forward: Callable[[Tensor, Tensor], object]
    backward: Callable[[Tensor, Tensor, Tensor], object]
    saves_inputs: bool = False


def _aligned(
    operation: Callable[..., object],
) -> Callable[..., object]:
    """Make an elementwise operation round alike wherever a model lies in the stack.

    PyTorch computes the last numbers of a tensor, those that fill no vector register, by another
    formula for some functions. Each model's numbers are padded to whole registers, if need be.
    The last argument is the output.
    """

    def apply(*tensors: Tensor) -> None:
        excess = tensors[0][0].numel() % ALIGNMENT
        if excess == 0:
            operation(*tensors)
            return
        padding = (0, ALIGNMENT - excess)
        padded = [functional.pad(tensor.flatten(1), padding) for tensor in tensors]
        operation(*padded)
        tensors[-1].copy_(padded[-1][:, : -padding[1]].view_as(tensors[-1]))

    return apply


ACTIVATION_PAIRS: dict[Activation, ActivationPair] = {
    "relu": ActivationPair(
        lambda inputs, out: torch.clamp_min(inputs, 0, out=out),
        lambda grad, saved, out: aten.threshold_backward(grad, saved, 0, grad_input=out),
    ),
    "tanh": ActivationPair(
        lambda inputs, out: torch.tanh(inputs, out=out),
        lambda grad, saved, out: aten.tanh_backward(grad, saved, grad_input=out),
    ),
    "elu": ActivationPair(
        _aligned(lambda inputs, out: aten.elu(inputs, out=out)),
        _aligned(
            lambda grad, saved, out: aten.elu_backward(grad, 1, 1, 1, True, saved, grad_input=out)
        ),
    ),
    "gelu": ActivationPair(
        lambda inputs, out: aten.gelu(inputs, out=out),
        lambda grad, saved, out: aten.gelu_backward(grad, saved, grad_input=out),
        saves_inputs=True,
    ),
    "silu": ActivationPair(
        _aligned(lambda inputs, out: aten.silu(inputs, out=out)),
        _aligned(lambda grad, saved, out: aten.silu_backward(grad, saved, grad_input=out)),
        saves_inputs=True,
    ),
    "softplus": ActivationPair(
        _aligned(lambda inputs, out: aten.softplus(inputs, out=out)),
        _aligned(
            lambda grad, saved, out: aten.softplus_backward(grad, saved, 1, 20, grad_input=out)
        ),
        saves_inputs=True,
    ),
}


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch of every model: what goes in and what is kept of it.

    Parameters
    ----------
    points : Tensor of shape (n_models, n_samples, n_features)
    noise : Tensor of shape (n_models, n_samples, latent_dim)
        Standard normal.
    heads : Tensor of shape (n_models, n_samples, 2 latent_dim)
        Written: mu and log variance side by side. Contiguous.
    residual : Tensor of shape (n_models, n_samples, n_features)
        Written: f(z) - x. Contiguous.
    """

    points: Float32[Tensor, "models samples features"]
    noise: Float32[Tensor, "models samples latent"]
    heads: Float32[Tensor, "models samples heads"]
    residual: Float32[Tensor, "models samples features"]


class NetworkPass:
    """Forward and backward pass through one half of the autoencoder, for one batch size.

    All buffers are contiguous: batched matrix products take a slower path, with another rounding,
    into anything else.

    Parameters
    ----------
    layers, gradients : list of Layer
        The parameters, and where their gradients are written.
    activation : ActivationPair
    hidden_grads : list of Tensor of shape (n_models, n_samples, width)
        Scratch for the gradient of each hidden layer.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        gradients: Sequence[Layer],
        *,
        activation: ActivationPair,
        hidden_grads: Sequence[Tensor],
    ) -> None:
        self._layers = layers
        self._gradients = gradients
        self._activation = activation
        self._hidden_grads = hidden_grads
        self._outputs = [torch.empty_like(grad) for grad in hidden_grads]
        separate = activation.saves_inputs
        self._inputs = [torch.empty_like(o) if separate else o for o in self._outputs]
        # A gradient inside padding is not contiguous: it is computed beside and copied.
        self._beside = [torch.empty(g.weight.shape, device=g.weight.device) for g in gradients]

    def forward(self, values: Tensor, out: Tensor) -> None:
        """Write the network's outputs.

        Parameters
        ----------
        values : Tensor of shape (n_models, n_samples, n_inputs)
        out : Tensor of shape (n_models, n_samples, n_outputs)
        """
        for layer, before, after in zip(self._layers, self._inputs, self._outputs, strict=False):
            multiply(values, layer.weight, bias=layer.bias, out=before)
            self._activation.forward(before, after)
            values = after
        multiply(values, self._layers[-1].weight, bias=self._layers[-1].bias, out=out)

    def backward(self, values: Tensor, grad: Tensor, values_grad: Tensor | None = None) -> None:
        """Write the gradients of the parameters, and of the inputs if asked.

        Parameters
        ----------
        values : Tensor of shape (n_models, n_samples, n_inputs)
            What `forward` was given last.
        grad : Tensor of shape (n_models, n_samples, n_outputs)
            Gradient of the loss by the outputs.
        values_grad : Tensor of shape (n_models, n_samples, n_inputs), optional
            Where to write the gradient by the inputs.
        """
        for index in range(len(self._layers) - 1, 0, -1):
            self._parameters_grad(index, self._outputs[index - 1], grad)
            hidden_grad = self._hidden_grads[index - 1]
            multiply(grad, self._layers[index].weight.transpose(1, 2), out=hidden_grad)
            self._activation.backward(hidden_grad, self._inputs[index - 1], hidden_grad)
            grad = hidden_grad
        self._parameters_grad(0, values, grad)
        if values_grad is not None:
            multiply(grad, self._layers[0].weight.transpose(1, 2), out=values_grad)

    def _parameters_grad(self, index: int, values: Tensor, grad: Tensor) -> None:
        target = self._gradients[index]
        torch.sum(grad, dim=1, keepdim=True, out=target.bias)
        if target.weight.is_contiguous():
            multiply(values.transpose(1, 2), grad, out=target.weight)
        else:
            multiply(values.transpose(1, 2), grad, out=self._beside[index])
            target.weight.copy_(self._beside[index])


class BatchPass:
    """Both networks and the latent layer between them, for one batch size.

    Parameters
    ----------
    vae : StackedVAE
    gradients : ParameterStack
        Where `compute` writes.
    half_kl_weights : Tensor of shape (n_models, 1, 1)
        beta / 2.
    n_samples : int
        Samples in the batch.
    """

    def __init__(
        self,
        vae: StackedVAE,
        gradients: ParameterStack,
        *,
        half_kl_weights: Tensor,
        n_samples: int,
    ) -> None:
        def empty(width: int) -> Tensor:
            return torch.empty(vae.n_models, n_samples, width, device=vae.device)

        self._vae = vae
        self._gradients = gradients
        self._n_samples = n_samples
        self._half_kl_weights = half_kl_weights / n_samples
        latent_dim = vae.model.latent_dim
        self._std, self._latents, self._latents_grad, self._variance_grad = (
            empty(latent_dim) for _ in range(4)
        )
        self._heads_grad = empty(2 * latent_dim)
        self._means_grad = empty(vae.dim)
        # The decoder's widths are the encoder's reversed, so both use one set of buffers.
        hidden_grads = [empty(width) for width in vae.model.hidden]
        activation = ACTIVATION_PAIRS[vae.model.activation]
        self._encoder = NetworkPass(
            vae.parameters.encoder,
            gradients.encoder,
            activation=activation,
            hidden_grads=hidden_grads,
        )
        self._decoder = NetworkPass(
            vae.parameters.decoder,
            gradients.decoder,
            activation=activation,
            hidden_grads=hidden_grads[::-1],
        )

    def compute(self, batch: Batch) -> None:
        """Write heads and residual of the batch, and the gradient of its loss.

        Parameters
        ----------
        batch : Batch
        """
        mu, log_variance = batch.heads.split(self._vae.model.latent_dim, dim=-1)
        self._encoder.forward(batch.points, batch.heads)
        torch.mul(log_variance, 0.5, out=self._std)
        self._std.exp_()
        torch.addcmul(mu, self._std, batch.noise, out=self._latents)
        self._decoder.forward(self._latents, batch.residual)
        batch.residual.sub_(batch.points)

        self._write_means_grad(batch.residual)
        self._decoder.backward(self._latents, self._means_grad, self._latents_grad)
        self._write_heads_grad(mu, batch.noise)
        self._encoder.backward(batch.points, self._heads_grad)

    def _write_means_grad(self, residual: Tensor) -> None:
        """Differentiate the reconstruction term by the decoder's means (and its variance)."""
        log_variance = self._vae.parameters.views.get(LOG_VARIANCE)
        if log_variance is None:
            torch.mul(residual, 2 / self._n_samples, out=self._means_grad)
            return
        precision = torch.exp(-log_variance) / self._n_samples
        torch.mul(residual, precision, out=self._means_grad)
        # d/ds of D s / 2 + exp(-s) sum of r^2 / (2 B), with s = log sigma^2.
        weighted_error = (residual * self._means_grad).sum(dim=(1, 2)).view(-1, 1, 1)
        self._gradients.views[LOG_VARIANCE].copy_((self._vae.dim - weighted_error) / 2)

    def _write_heads_grad(self, mu: Tensor, noise: Tensor) -> None:
        """Differentiate the loss by mu and the log variance of q(z|x)."""
        mu_grad, log_variance_grad = self._heads_grad.split(self._vae.model.latent_dim, dim=-1)
        torch.addcmul(self._latents_grad, mu, self._half_kl_weights, value=2, out=mu_grad)
        # d/d(log variance): KL term beta / 2 (s^2 - 1); through z, noise * s / 2.
        torch.mul(self._std, self._std, out=self._variance_grad)
        self._variance_grad.sub_(1).mul_(self._half_kl_weights)
        self._latents_grad.mul_(noise)
        torch.addcmul(
            self._variance_grad, self._latents_grad, self._std, value=0.5, out=log_variance_grad
        )


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
        Written by `compute`.
    """

    def __init__(self, vae: StackedVAE, kl_weights: Float32[Tensor, " models"]) -> None:
        self.gradients = ParameterStack(
            vae.model, n_models=vae.n_models, dim=vae.dim, device=vae.device
        )
        self._vae = vae
        self._half_kl_weights = kl_weights.view(-1, 1, 1) / 2
        self._passes: dict[int, BatchPass] = {}

    def compute(self, batch: Batch) -> None:
        """Write the gradient of the loss over one batch into `gradients`.

        Parameters
        ----------
        batch : Batch
            Its heads and residual are overwritten too.
        """
        n_samples = batch.points.shape[1]
        if n_samples not in self._passes:
            self._passes[n_samples] = BatchPass(
                self._vae,
                self.gradients,
                half_kl_weights=self._half_kl_weights,
                n_samples=n_samples,
            )
        self._passes[n_samples].compute(batch)
