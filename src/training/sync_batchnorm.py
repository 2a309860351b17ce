"""Synchronised batch norms that keep what a batch norm does besides normalising."""

from __future__ import annotations

from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from src.errors import UserError


class SyncBatchNorms(TorchSyncBatchNorm):
    """Converts the batch norms that use batch statistics; those of frozen networks stay as they are.

    torch's own conversion drops the activation inside timm's batch norms without a word.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Convert batch norms in place.

        Raises:
            UserError: a batch norm that computes more, in a way that no conversion knows.
        """
        from timm.layers.norm_act import BatchNormAct2d, convert_sync_batchnorm  # here, as loading takes seconds

        known = (_BatchNorm.forward, nn.SyncBatchNorm.forward, BatchNormAct2d.forward)
        converted: dict[nn.Module, nn.Module] = {}  # one that has two names stays one
        for name, module in list(model.named_modules(remove_duplicate=False)):
            if not isinstance(module, _BatchNorm) or not module.training:
                continue
            if type(module).forward not in known:
                raise UserError(
                    f"trainer.sync_batchnorm=true cannot convert {type(module).__name__} '{name}', which computes more "
                    "than a batch norm; give trainer.sync_batchnorm=false"
                )
            if module not in converted:
                converted[module] = convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
            model.set_submodule(name, converted[module])
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Keep them after training: in eval mode they compute what they did before."""
        return model
