"""Label a video with exported files: python run_exported.py FOLDER VIDEO OUTPUT [EVERY]

Needs NumPy, PyAV, OpenCV and the runtime. FOLDER is of `python -m src.export format=onnx` or `format=openvino`; OUTPUT
gets one PNG of class indices per frame. With EVERY, the next keyframe comes so many frames after the last one at the
latest, and labels of frames between are moved with the motion without a network, as with `python -m src.predict
policy=uniform`. Motion is what the codec exports, which is exact for H.264 and MPEG-4 with one reference frame and no B
frames; blocks without a vector (intra) are invalid. Other videos need block search, which `python -m src.predict` has.
"""

import json
import sys
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation


def load(folder):
    """Metadata, and a function from arrays to arrays per graph."""
    if files := sorted(folder.glob("*.onnx")):
        import onnxruntime

        sessions = {f.stem: onnxruntime.InferenceSession(f, providers=["CPUExecutionProvider"]) for f in files}
        about = next(iter(sessions.values())).get_modelmeta().custom_metadata_map["segmentation"]
        outputs = {name: [o.name for o in s.get_outputs()] for name, s in sessions.items()}
        inputs = {name: [i.name for i in s.get_inputs()] for name, s in sessions.items()}
        return json.loads(about), {
            n: lambda x, n=n: dict(zip(outputs[n], sessions[n].run(None, {k: x[k] for k in inputs[n]}), strict=True))
            for n in sessions
        }
    import openvino

    core = openvino.Core()
    models = {f.stem: core.read_model(f) for f in sorted(folder.glob("*.xml"))}
    if not models:
        sys.exit(f"error: '{folder}' holds no .onnx or .xml files; give a folder of python -m src.export")
    about = json.loads(next(iter(models.values())).get_rt_info("segmentation").value)
    hint = {"INFERENCE_PRECISION_HINT": "bf16" if about["precision"] == "bf16" else "f32"}
    compiled = {name: core.compile_model(model, "CPU", hint) for name, model in models.items()}
    return about, {
        name: lambda x, c=c: {
            port.any_name: np.array(value) for port, value in c({i.any_name: x[i.any_name] for i in c.inputs}).items()
        }
        for name, c in compiled.items()
    }


def size_for(about, height, width):
    """(width, height) that the graphs take an image of a video in."""
    if about["height"]:
        return about["width"], about["height"]
    short, long = (about["fit"] or {}).get("short"), (about["fit"] or {}).get("long")
    ratio = min(short / min(height, width), long / max(height, width)) if short else 1
    return tuple(max(1, round(side * ratio / about["multiple_of"])) * about["multiple_of"] for side in (width, height))


def rgb(frame):
    """(H, W, 3) uint8; BT.709 where the video says so or, unspecified, is above standard definition; else BT.601."""
    guessed = frame.colorspace == 2 and (frame.width >= 1280 or frame.height > 576)
    return frame.to_ndarray(
        format="rgb24",
        src_colorspace="ITU709" if frame.colorspace == 1 or guessed else "ITU601",
        src_color_range="JPEG" if frame.color_range == 2 else "MPEG",
        dst_color_range="JPEG",
        interpolation=Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
    )


def extend(frame, field, known):
    """Motion (2, H, W) and validity (H, W) of a frame to the keyframe, from those of the frame before."""
    height, width = known.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    hop, covered = np.zeros_like(field), np.zeros((height, width), bool)
    side_data = frame.side_data.get("MOTION_VECTORS")
    for block in () if side_data is None else side_data.to_ndarray():
        top, left = block["dst_y"] - block["h"] // 2, block["dst_x"] - block["w"] // 2
        area = np.s_[max(top, 0) : top + block["h"], max(left, 0) : left + block["w"]]
        hop[0][area], hop[1][area] = (block[f"motion_{axis}"] / block["motion_scale"] for axis in "xy")
        covered[area] = True
    from_x, from_y = x + hop[0], y + hop[1]
    before = [cv2.remap(c, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for c in field]
    share = cv2.remap(known.astype(np.float32), from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return hop + np.stack(before), (share > 0.999) & covered


def main(folder, video, output, every=None):
    about, runs = load(Path(folder))
    if every is not None and not (every.isdecimal() and int(every) > 0):
        sys.exit(f"error: EVERY={every} is no whole number above 0; give one, such as 6, or leave it out")
    if every is not None and not about.get("warp"):
        sys.exit(f"error: '{folder}' has no graph that moves labels; export AR-Seg or DFF again, or leave {every} out")
    longest = int(every or about["gop"])
    Path(output).mkdir(parents=True)
    mean, std = (np.array(about["normalisation"][key], np.float32) for key in ("mean", "std"))
    order, repeat_from, index, distance, state, motion = about["order"], about["repeat_from"], 0, 0, [], ()
    container = av.open(video)
    container.streams.video[0].codec_context.flags2 |= av.codec.context.Flags2.export_mvs
    for number, frame in enumerate(container.decode(video=0)):
        image = full = rgb(frame)
        size = size_for(about, *full.shape[:2])
        if size != full.shape[1::-1]:
            image = cv2.resize(full, size, interpolation=cv2.INTER_LINEAR)
        is_intra = av.video.frame.PictureType(frame.pict_type).name == "I"
        keyframe = number == 0 or is_intra or distance == longest - 1
        if about["uses_motion"]:  # each keyframe starts again; other methods follow their order to the end
            index, distance = (0, 0) if keyframe else (index, distance + 1)
            still = np.zeros((2, *full.shape[:2]), np.float32), np.ones(full.shape[:2], bool)
            motion = still if keyframe else extend(frame, *motion)
        warps = every is not None and not keyframe
        graph = about["warp"] if warps else order[index]
        names = about["graphs"][graph]
        arrays = dict(zip(names["state"], state, strict=True)) if index else {}
        arrays["image"] = ((image.astype(np.float32) / 255 - mean) / std).transpose(2, 0, 1)[None]
        if "motion" in names["inputs"]:
            ratio = np.float32([image.shape[1] / full.shape[1], image.shape[0] / full.shape[0]])
            arrays["motion"] = np.stack([cv2.resize(c, size) for c in motion[0]])[None] * ratio[:, None, None]
            valid = cv2.resize(motion[1].astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
            arrays["motion_valid"] = valid[None] > 0
        arrays |= runs[graph](arrays)
        if not warps:
            state = [arrays[name] for name in names["next"]]
            index = index + 1 if index + 1 < len(order) else repeat_from
        labels = arrays["logits"][0].argmax(0).astype(np.uint8)
        labels = cv2.resize(labels, full.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        cv2.imwrite(str(Path(output) / f"{number:06d}.png"), labels)


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    main(*sys.argv[1:])
