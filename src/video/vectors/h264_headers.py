"""Read what decides whether the motion vectors of an H.264 bit stream are exact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_HIGH_PROFILES = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}
_SPS, _SLICES = 7, (1, 2, 5)


@dataclass(frozen=True)
class Sps:
    """Sequence parameter set (ITU-T H.264, 7.3.2.1.1).

    Attributes:
        references: max_num_ref_frames, how many earlier frames a P frame may choose from.
        progressive: frame_mbs_only_flag, no field coding.
        crop_left, crop_top: luma pixels between the coded and the visible top-left corner.
    """

    references: int
    progressive: bool
    crop_left: int
    crop_top: int


def read_sps(extradata: bytes) -> list[Sps]:
    """All parameter sets in a decoder's extradata, whether avcC (MP4, Matroska) or Annex B (TS, AVI)."""
    if extradata[:1] == b"\x01":
        units = _avcc_sps(extradata)
    else:
        units = [u for u in _annex_b(extradata) if u and u[0] & 31 == _SPS]
    return [_parse(unit) for unit in units]


def packet_sps(packet: bytes, extradata: bytes) -> list[Sps]:
    """All parameter sets inside a packet, which replace those of the extradata."""
    return [_parse(unit) for unit in _units(packet, extradata) if unit and unit[0] & 31 == _SPS]


def is_reference(packet: bytes, extradata: bytes) -> bool:
    """Check whether later frames may be predicted from the frame in `packet` (nal_ref_idc of its slices)."""
    units = _units(packet, extradata)
    return next((unit[0] >> 5 > 0 for unit in units if unit and unit[0] & 31 in _SLICES), True)


def _units(packet: bytes, extradata: bytes) -> Iterator[bytes]:
    prefix = (extradata[4] & 3) + 1 if extradata[:1] == b"\x01" else 0
    return _length_prefixed(packet, prefix) if prefix else _annex_b(packet)


def _avcc_sps(extradata: bytes) -> list[bytes]:
    units, position = [], 6
    for _ in range(extradata[5] & 31):
        size = int.from_bytes(extradata[position : position + 2], "big")
        units.append(extradata[position + 2 : position + 2 + size])
        position += 2 + size
    return units


def _length_prefixed(packet: bytes, prefix: int) -> Iterator[bytes]:
    position = 0
    while position + prefix < len(packet):
        size = int.from_bytes(packet[position : position + prefix], "big")
        yield packet[position + prefix : position + prefix + size]
        position += prefix + size


def _annex_b(stream: bytes) -> Iterator[bytes]:
    start = stream.find(b"\x00\x00\x01")
    while start >= 0:
        end = stream.find(b"\x00\x00\x01", start + 3)
        yield stream[start + 3 : end if end >= 0 else len(stream)]
        start = end


class _Bits:
    """Reads bits and exp-Golomb codes (9.1), emulation prevention bytes removed."""

    def __init__(self, unit: bytes) -> None:
        payload = unit.replace(b"\x00\x00\x03", b"\x00\x00")
        self._bits = int.from_bytes(payload, "big")
        self._left = 8 * len(payload)

    def take(self, count: int) -> int:
        self._left = max(0, self._left - count)  # zeros from the end of a damaged unit on
        return (self._bits >> self._left) & ((1 << count) - 1)

    def unsigned(self) -> int:
        zeros = 0
        while self._left > 0 and self.take(1) == 0:
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

    def signed(self) -> int:
        code = self.unsigned()
        return (code + 1) // 2 if code % 2 else -(code // 2)


def _parse(unit: bytes) -> Sps:
    bits = _Bits(unit[1:])
    profile = bits.take(8)
    bits.take(16)
    bits.unsigned()  # seq_parameter_set_id
    chroma = _skip_high_profile(bits) if profile in _HIGH_PROFILES else 1
    bits.unsigned()  # log2_max_frame_num_minus4
    _skip_order_count(bits)
    references = bits.unsigned()
    bits.take(1)  # gaps_in_frame_num_value_allowed_flag
    bits.unsigned(), bits.unsigned()  # size in macroblocks
    progressive = bool(bits.take(1))
    bits.take(1 if progressive else 2)  # mb_adaptive_frame_field_flag, direct_8x8_inference_flag
    left, top = 0, 0
    if bits.take(1):
        left, _, top = bits.unsigned(), bits.unsigned(), bits.unsigned()
    unit_x, unit_y = (2 if chroma in (1, 2) else 1), (2 if chroma == 1 else 1) * (1 if progressive else 2)
    return Sps(references, progressive, left * unit_x, top * unit_y)


def _skip_high_profile(bits: _Bits) -> int:
    chroma = bits.unsigned()
    if chroma == 3:
        bits.take(1)
    bits.unsigned(), bits.unsigned()  # bit depths
    bits.take(1)
    if bits.take(1):  # scaling matrices
        for i in range(8 if chroma != 3 else 12):
            if bits.take(1):
                _skip_scaling_list(bits, 16 if i < 6 else 64)
    return chroma


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last, following = 8, 8
    for _ in range(size):
        if following != 0:
            following = (last + bits.signed()) % 256
        last = following or last


def _skip_order_count(bits: _Bits) -> None:
    kind = bits.unsigned()
    if kind == 0:
        bits.unsigned()
    elif kind == 1:
        bits.take(1)
        bits.signed(), bits.signed()
        for _ in range(bits.unsigned()):
            bits.signed()
