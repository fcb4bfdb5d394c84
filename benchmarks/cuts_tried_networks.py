"""The networks whose cuts are tried, and where each is cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sglr.core.model import build_model
from sglr.splitting.transformers import Transformer
from sglr.system.vision_libraries import vision_library

CLASSES = 5


@dataclass(frozen=True)
class Network:
    """A network.

    Parameters
    ----------
    name
        What it is called: as ``--model`` takes it, or ``package:Class`` of another library.
    shape
        Of one input.
    make
        Builds it; None for a model by name.
    words
        How many words there are, where inputs are numbers of tokens; 0 for other inputs.
    """

    name: str
    shape: tuple[int, ...]
    make: Callable[[], nn.Module] | None = None
    words: int = 0

    def build(self) -> nn.Module:
        """Return it with new weights."""
        return build_model(self.name, self.shape, CLASSES, pretrained=False) if self.make is None else self.make()

    def example(self, batch: int) -> Tensor:
        """Draw inputs ``[batch, ...]``."""
        if self.words:
            return torch.randint(1, self.words, (batch, *self.shape))
        return torch.randn(batch, *self.shape)


def _monai(name: str, shape: tuple[int, ...], **options: Any) -> Network:
    def make() -> nn.Module:
        from monai.networks import nets

        made: nn.Module = getattr(nets, name)(**options)
        return made

    return Network(f"monai:{name}", shape, make)


def _transformer(kind: str, head: str, words: int = 60) -> Network:
    """Return a small transformer of a family, with random weights; images of 32 pixels where it has no words."""

    def make() -> nn.Module:
        library: Any = vision_library("transformers", "model", kind)
        sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64}
        if kind == "gpt2":
            sizes = {"n_embd": 32, "n_layer": 4, "n_head": 4}
        elif kind == "distilbert":
            sizes = {"dim": 32, "n_layers": 4, "n_heads": 4, "hidden_dim": 64}
        if kind in ("llama", "qwen2", "gemma"):
            sizes |= {"num_key_value_heads": 2, "head_dim": 8}
        given = {"vocab_size": words, "pad_token_id": 0} if words else {"image_size": 32, "patch_size": 8}
        config = library.AutoConfig.for_model(kind, num_labels=CLASSES, **sizes, **given)
        model: nn.Module = getattr(library, head).from_config(config, attn_implementation="eager")
        config.use_cache = False
        return Transformer(model, None, 0 if words else None)

    name = f"transformers:{kind}" + (" (language)" if "LM" in head else "")
    return Network(name, (12,) if words else (3, 32, 32), make, words)


S, M, L = (3, 32, 32), (3, 64, 64), (3, 96, 96)
_FLAT = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2}
_UNET = {**_FLAT, "channels": (4, 8, 16), "strides": (2, 2)}
_TORCHVISION: list[tuple[str, tuple[int, ...], tuple[str, ...]]] = [
    ("alexnet", M, ("features.2", "features.12")),
    ("vgg11", S, ("features.5", "features.15")),
    ("vgg16_bn", S, ("features.13",)),
    ("resnet18", S, ("layer1", "layer3", "layer2.0.conv1")),
    ("resnet50", S, ("maxpool", "layer2.1.conv2")),
    ("resnext50_32x4d", S, ("layer1",)),
    ("densenet121", S, ("features.transition1", "features.denseblock2", "features.denseblock1.denselayer3")),
    ("mobilenet_v2", S, ("features.3", "features.10")),
    ("mobilenet_v3_small", S, ("features.2", "features.8")),
    ("efficientnet_b0", S, ("features.2", "features.5")),
    ("efficientnet_v2_s", S, ("features.1",)),
    ("convnext_tiny", S, ("features.1", "features.5")),
    ("vit_b_32", M, ("conv_proj", "encoder.layers.encoder_layer_2", "encoder.layers.encoder_layer_5.mlp")),
    ("swin_t", M, ("features.1", "features.3")),
    ("swin_v2_t", M, ("features.1",)),
    ("maxvit_t", (3, 224, 224), ("blocks.0",)),
    ("inception_v3", L, ("Mixed_5b", "Mixed_6c")),
    ("googlenet", M, ("inception3b", "inception4c")),
    ("squeezenet1_1", M, ("features.5",)),
    ("shufflenet_v2_x0_5", M, ("stage2", "stage3")),
    ("fasterrcnn_mobilenet_v3_large_fpn", M, ("backbone",)),
    ("regnet_y_400mf", S, ("trunk_output.block1", "trunk_output.block3")),
    ("fcn_resnet50", S, ("backbone.layer2", "backbone.layer4")),
    ("deeplabv3_mobilenet_v3_large", M, ("backbone.6",)),
    ("lraspp_mobilenet_v3_large", M, ("backbone.3", "backbone.10")),
    ("r3d_18", (3, 8, 32, 32), ("layer1",)),
    ("swin3d_t", (3, 4, 64, 64), ("features.1",)),
]
_TIMM: list[tuple[str, tuple[int, ...], tuple[str, ...]]] = [
    ("resnet18", S, ("layer1", "layer3")),
    ("vit_tiny_patch16_224", S, ("patch_embed", "blocks.2", "blocks.8", "blocks.5.attn")),
    ("deit_tiny_distilled_patch16_224", S, ("blocks.3",)),
    ("beit_base_patch16_224", S, ("blocks.2",)),
    ("eva02_tiny_patch14_224", (3, 56, 56), ("blocks.4",)),
    ("swin_tiny_patch4_window7_224", M, ("layers.0", "layers.2")),
    ("convnext_atto", S, ("stages.0", "stages.2")),
    ("efficientnet_b0", S, ("blocks.1", "blocks.4")),
    ("mobilenetv4_conv_small", M, ("blocks.1",)),
    ("mixer_s32_224", M, ("blocks.3",)),
    ("gmlp_ti16_224", M, ("blocks.3",)),
    ("nfnet_l0", S, ("stages.0",)),
    ("regnety_002", S, ("s2",)),
    ("coatnet_nano_rw_224", M, ("stages.1",)),
    ("hrnet_w18_small", M, ("layer1", "stage2", "stage3")),
    ("mobilevitv2_050", M, ("stages.2",)),
    ("xcit_nano_12_p16_224", M, ("blocks.3",)),
    ("pvt_v2_b0", M, ("stages.1",)),
    ("crossvit_9_240", (3, 240, 240), ("blocks.0",)),
    ("sequencer2d_s", M, ("stages.1",)),
]
_MONAI: list[tuple[Network, tuple[str, ...]]] = [
    (_monai("UNet", (1, 32, 32), **_UNET), ("model.0", "model.1.submodule.1.submodule")),
    (_monai("BasicUNet", (1, 32, 32), **_FLAT, features=(4, 4, 8, 16, 32, 4)), ("down_2", "down_4")),
    (_monai("AttentionUnet", (1, 32, 32), **_UNET), ("model.0",)),
    (_monai("SegResNet", (1, 32, 32), **_FLAT, init_filters=8), ("down_layers.1", "down_layers.3")),
    (_monai("VNet", (1, 32, 32), **_FLAT), ("down_tr64",)),
    (_monai("DenseNet121", (1, 64, 64), **_FLAT), ("features.denseblock1",)),
    (_monai("FlexibleUNet", (1, 64, 64), **_FLAT, backbone="efficientnet-b0"), ("encoder",)),
    (
        _monai(
            "DynUNet",
            (1, 32, 32),
            **_FLAT,
            kernel_size=[3, 3, 3],
            strides=[1, 2, 2],
            upsample_kernel_size=[2, 2],
            filters=[4, 8, 16],
        ),
        ("input_block", "bottleneck"),
    ),
]
_CLASSIFIES, _SPEAKS = "AutoModelForSequenceClassification", "AutoModelForCausalLM"
_TRANSFORMERS: list[tuple[Network, tuple[str, ...]]] = [
    (_transformer("bert", _CLASSIFIES), ("embeddings", "layer.1")),
    (_transformer("roberta", _CLASSIFIES), ("layer.1",)),
    (_transformer("distilbert", _CLASSIFIES), ("layer.1",)),
    (_transformer("gpt2", _CLASSIFIES), ("layer.1",)),
    (_transformer("gpt2", _SPEAKS), ("layer.1",)),
    (_transformer("llama", _SPEAKS), ("layer.1",)),
    (_transformer("qwen2", _CLASSIFIES), ("layer.1",)),
    (_transformer("gemma", _CLASSIFIES), ("layer.1",)),
    (_transformer("vit", "AutoModelForImageClassification", 0), ("layer.1",)),
]

CUTS: list[tuple[Network, str]] = [
    *((Network(f"torchvision:{name}", shape), cut) for name, shape, cuts in _TORCHVISION for cut in cuts),
    *((Network(f"timm:{name}", shape), cut) for name, shape, cuts in _TIMM for cut in cuts),
    *((network, cut) for network, cuts in (*_MONAI, *_TRANSFORMERS) for cut in cuts),
]
"""What is tried."""
