"""Names of parameters in the official releases, and in the networks of this project."""

from __future__ import annotations

# Official prefix -> prefix here; None drops the key. The longest matching prefix wins, other keys keep their name.
KeyMap = dict[str, str | None]
BLOCKS = 16  # more than a stage of EfficientViT has


def _pyramid(official: str, local: str) -> KeyMap:
    """TDNet's pyramid pooling: the convolution and the norm of each of four branches."""
    parts = {"0.": "1.", "1.": "2."}
    return {
        f"{official}conv{i + 1}.{theirs}": f"{local}stages.{i}.{part}"
        for i in range(4)
        for theirs, part in parts.items()
    }


PSP_CAMVID: KeyMap = {
    "feats.": "backbone.",
    "psp.bottleneck.": "bottleneck.",
    "psp.stages.": "pyramid.stages.",
    "up_": "decoder.",
    "classifier.": "presence.",
}
PSP_CITYSCAPES: KeyMap = {
    "layer0.0.": "backbone.conv1.",
    "layer0.1.": "backbone.bn1.",
    "layer": "backbone.layer",
    "ppm.features.": "pyramid.stages.",
    "cls.": "head.",
    "cls.4.": "final_conv.",
}
BISENET: KeyMap = {
    "cp.": "context.",
    "sp.": "spatial.",
    "ffm.": "fusion.",
    "feat_conv_out.": "head.",
    "conv_out.conv.": "head.",
    "conv_out.conv_out.": "final_conv.",
    "conv_out16.conv.": "aux16.0.",
    "conv_out16.conv_out.": "aux16.1.",
    "conv_out32.conv.": "aux32.0.",
    "conv_out32.conv_out.": "aux32.1.",
}
PSP_TEACHER: KeyMap = {
    "pretrained.": "backbone.",
    "pretrained.fc.": None,
    **_pyramid("head.conv5.0.", "pyramid."),
    "head.conv5.1.": "head.0.",
    "head.conv5.2.": "head.1.",
    "head.conv5.5.": "final_conv.",
}
GCNET: KeyMap = {
    **{
        f"decode_head.{official}.{theirs}": f"decode_head.{local}.{here}"
        for official, local in (("head", "head"), ("aux_head_c4", "aux_head"))
        for theirs, here in (("0.", "0.bn."), ("2.conv.", "0.conv."), ("2.bn.", "1."))
    },
    "decode_head.aux_cls_seg_c4.": "decode_head.aux_cls_seg.",
}
FUSION: KeyMap = {
    "fuse_attention.lr_query_conv.": "query.",
    "fuse_attention.hr_key_conv.": "key.",
    "fuse_attention.hr_value_conv.": "value.",
}


def efficientvit(large: bool, widened: bool) -> KeyMap:
    """Names of an EfficientViT-Seg.

    Args:
        large: of the variants L, whose backbone has its first stage among the others.
        widened: the head has a layer before its classifier.
    """
    stem = "backbone.stages.0." if large else "backbone.input_stem."
    keys: KeyMap = {f"{stem}op_list.0.": "backbone.stem_in_conv."}
    keys |= {f"{stem}op_list.{i}.": f"backbone.stem_res{i - 1}." for i in range(1, BLOCKS)}
    for stage in range(4):
        official = f"backbone.stages.{stage + large}.op_list."
        keys |= {f"{official}{i}.": f"backbone.stages_{stage}.blocks.{i}." for i in range(BLOCKS)}
    keys |= {f"head.middle.op_list.{i}.": f"head.middle.{i}." for i in range(BLOCKS)}
    keys |= {"head.input_ops.0.op_list.0.": "head.inputs.2.", "head.input_ops.1.op_list.0.": "head.inputs.1."}
    keys |= {"head.input_ops.2.": "head.inputs.0.", "head.output_ops.0.op_list.0.": "head.output."}
    return keys | {f"head.output_ops.0.op_list.{int(widened)}.conv.": "conv_seg."}


def tdnet(paths: int, pairs: dict[str, str]) -> KeyMap:
    """Names of a TDNet on PSPNet paths.

    Args:
        paths: their number.
        pairs: official name of each projection to "reader_source", 0-based.
    """
    keys: KeyMap = {"auxlayer": None, "teacher.": None}  # of training checkpoints
    for i in range(paths):
        keys |= {
            f"pretrained{i + 1}.": f"paths.{i}.backbone.",
            f"pretrained{i + 1}.fc.": None,
            f"layer_norm{i + 1}.ln.": f"paths.{i}.norm.",
            f"head{i + 1}.conv5.": f"paths.{i}.head.",
            f"enc{i + 1}.w_vs.0.conv.": f"encodings.{i}.value.",
        }
        for official, local in (("w_qs", "query"), ("w_ks", "key")):
            keys |= {
                f"enc{i + 1}.{official}.0.conv.": f"encodings.{i}.{local}.0.",
                f"enc{i + 1}.{official}.0.bn.": f"encodings.{i}.{local}.1.",
                f"enc{i + 1}.{official}.1.conv.": f"encodings.{i}.{local}.3.",
            }
        keys |= _pyramid(f"psp{i + 1}.", f"paths.{i}.pyramid.")
    return keys | {f"{name}.fc.0.conv.": f"projections.{pair}.linear." for name, pair in pairs.items()}


def low_branch(net: KeyMap) -> KeyMap:
    """Names in AR-Seg's own file: the low-resolution network and the fusion."""
    fusion: KeyMap = {official: f"fusion.{local}" for official, local in FUSION.items()}
    return {**_under("low.", net), **fusion}


def high_branch(net: KeyMap) -> KeyMap:
    """Names in the file of AR-Seg's high-resolution network; some carry a fusion that network never uses."""
    return {**_under("high.", net), "fuse_attention.": None}


def _under(branch: str, net: KeyMap) -> KeyMap:
    return {"": branch, **{official: f"{branch}{local}" for official, local in net.items()}}
