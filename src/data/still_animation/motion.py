"""Draw the motion of the camera and the objects of a synthetic clip; numbers only, no images.

Lengths are in camera heights (about 1.3 m in a car), so that a ground point `y` pixels below the horizon has
depth `focal / y`, whatever the car.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class SceneMotion:
    """Distribution of the motion drawn for each clip.

    The defaults reproduce, at 480x360 and 15 Hz, the size of the optical flow of the CamVid test drive.

    Attributes:
        focal: focal length in image widths.
        standing: probability that the camera stands.
        speed: least and largest forward speed, camera heights per frame (0.4 is 8 m/s at 15 Hz).
        acceleration: standard deviation of the change of speed per frame.
        drift: standard deviation of the sideways speed, as a fraction of the forward speed.
        yaw: standard deviation of the yaw rate, image widths per frame.
        turning: probability of a turn, which has four times that yaw rate.
        pitch: standard deviation of the amplitude of the nodding, image widths.
        roll: the same for rolling, radians.
        moving: probability that a car, pedestrian or bicyclist moves on its own.
        object_speed: standard deviation of its speed along and across the street, camera heights per frame.
        exposure: standard deviation of the change of brightness over ten frames, as a factor minus one.
        noise: probability of added sensor noise.
        noise_sigma: largest standard deviation of that noise, grey levels.
        blur: probability of a slight defocus of all frames but the image itself.
    """

    focal: float = 0.9
    standing: float = 0.1
    speed: tuple[float, float] = (0.1, 0.4)
    acceleration: float = 0.01
    drift: float = 0.05
    yaw: float = 0.002
    turning: float = 0.1
    pitch: float = 0.003
    roll: float = 0.004
    moving: float = 0.6
    object_speed: tuple[float, float] = (0.15, 0.03)
    exposure: float = 0.04
    noise: float = 0.3
    noise_sigma: float = 3.0
    blur: float = 0.15


@dataclass(frozen=True)
class CameraPath:
    """Where the camera was before and after it took the image; the image's own element is zero everywhere.

    Attributes:
        steps: (T,) how many frames before the image, ascending; negative ones are after it.
        back: (T,) how far the camera was behind its place at the image, camera heights, never decreasing.
        side: (T,) how far it was to the right of it, camera heights.
        shift: (T, 2) displacement (x, y) of infinitely far points by yaw and pitch, pixels.
        roll: (T,) rotation of the image, radians.
    """

    steps: NDArray[np.int64]
    back: FloatArray
    side: FloatArray
    shift: FloatArray
    roll: FloatArray


def draw_camera_path(
    motion: SceneMotion, length: int, width: int, rng: np.random.Generator, after: int = 0
) -> CameraPath:
    """One drive of `length` frames, `after` of them after the image; `width` of the image in pixels."""
    steps = np.arange(-after, length - after, dtype=np.float64)
    start = 0.0 if rng.random() < motion.standing else rng.uniform(*motion.speed)
    speed = np.clip(start - rng.normal(0.0, motion.acceleration) * steps, 0.0, motion.speed[1])
    if start == 0.0:
        speed[:] = 0.0
    back = np.concatenate([-np.cumsum(speed[after:0:-1])[::-1], [0.0], np.cumsum(speed[after + 1 :])])
    rate = motion.yaw * (4.0 if rng.random() < motion.turning else 1.0)
    rate *= min(1.0, start / motion.speed[0])  # a standing car does not turn
    yaw = rng.normal(0.0, rate) * steps + _nod(steps, rng.normal(0.0, rate), rng)
    pitch = _nod(steps, rng.normal(0.0, motion.pitch), rng)
    roll = _nod(steps, rng.normal(0.0, motion.roll), rng)
    return CameraPath(
        steps=steps.astype(np.int64),
        back=back.astype(np.float32),
        side=(back * rng.normal(0.0, motion.drift)).astype(np.float32),
        shift=(np.stack([yaw, pitch], axis=1) * width).astype(np.float32),
        roll=roll.astype(np.float32),
    )


def _nod(steps: NDArray[np.float64], amplitude: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A swing of one to three seconds at 15 Hz, zero at the image."""
    phase, pace = rng.uniform(0.0, 2.0 * np.pi), 2.0 * np.pi / rng.uniform(15.0, 45.0)
    return np.asarray(amplitude * (np.sin(phase + pace * steps) - np.sin(phase)), dtype=np.float64)


def draw_object_velocity(motion: SceneMotion, rng: np.random.Generator) -> tuple[float, float]:
    """Own velocity (along, across) of one object, camera heights per frame; (0, 0) if it stands."""
    along, across = rng.normal(0.0, motion.object_speed)
    return (float(along), float(across)) if rng.random() < motion.moving else (0.0, 0.0)
