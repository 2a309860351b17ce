"""Vectors of 64 floats as values inside Numba kernels.

LLVM vectorises a plain loop over channels only after checking, at run time and before every pixel, that no two
arrays overlap, and sums the lanes of every product separately: half of the time of a 7 x 7 window. Written with
these vectors nothing is left to check, and the sums of a row of the window are gathered together.
"""
# Numba infers the types of these functions from their first call; llvmlite has no types.
# ruff: noqa: ANN001, ANN201, ANN202
# mypy: disable-error-code="misc, no-untyped-def, no-untyped-call, call-arg, var-annotated, untyped-decorator"

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, register_model

LANES = 64
WINDOW = 7
_REGISTER = 16  # floats; narrower machines split it
_FLAGS = ("contract", "nsz")


class Lanes(types.Type):
    """The Numba type of a vector."""

    def __init__(self) -> None:
        super().__init__("Lanes")


LANES_TYPE = Lanes()


def _vector(size):
    return ir.VectorType(ir.FloatType(), size)


@register_model(Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:
        super().__init__(dmm, fe_type, _vector(LANES))


def _address(context, builder, array_type, array, offset, size):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [offset]), _vector(size).as_pointer())


def _splat(builder, scalar, size):
    first = builder.insert_element(ir.Constant(_vector(size), ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(ir.IntType(32), size), [0] * size))


def _shuffle(builder, a, b, order):
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(order)), list(order))
    return builder.shuffle_vector(a, b, mask)


@intrinsic
def load(typing, array, offset):
    """The 64 floats from position `offset` of a contiguous array."""

    def generate(context, builder, signature, arguments):
        return builder.load(_address(context, builder, signature.args[0], *arguments, LANES), align=4)

    return LANES_TYPE(array, types.intp), generate


@intrinsic
def store(typing, array, offset, vector):
    """Write a vector to position `offset` of a contiguous array."""

    def generate(context, builder, signature, arguments):
        *place, value = arguments
        builder.store(value, _address(context, builder, signature.args[0], *place, LANES), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, LANES_TYPE), generate


@intrinsic
def splat(typing, scalar):
    """A vector of equal floats."""

    def generate(context, builder, signature, arguments):
        return _splat(builder, arguments[0], LANES)

    return LANES_TYPE(types.float32), generate


@intrinsic
def multiply_add(typing, a, b, c):
    """a * b + c."""

    def generate(context, builder, signature, arguments):
        a, b, c = arguments
        return builder.fadd(builder.fmul(a, b, flags=_FLAGS), c, flags=_FLAGS)

    return LANES_TYPE(LANES_TYPE, LANES_TYPE, LANES_TYPE), generate


@intrinsic
def add(typing, a, b):
    """a + b."""

    def generate(context, builder, signature, arguments):
        return builder.fadd(*arguments, flags=_FLAGS)

    return LANES_TYPE(LANES_TYPE, LANES_TYPE), generate


@intrinsic
def distance(typing, a, b):
    """|a - b|."""

    def generate(context, builder, signature, arguments):
        difference = builder.fsub(*arguments, flags=_FLAGS)
        kind = ir.FunctionType(_vector(LANES), [_vector(LANES)])
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fabs.v{LANES}f32")
        return builder.call(function, [difference])

    return LANES_TYPE(LANES_TYPE, LANES_TYPE), generate


def _adder_of_dots(count):
    @intrinsic
    def add_dots(typing, out, place, start, start_place, vector, array, offset):
        def generate(context, builder, signature, arguments):
            out, place, start, start_place, vector, array, offset = arguments
            out_type, _, start_type, _, _, array_type, _ = signature.args
            parts = _parts(builder, vector)
            sums = [ir.Constant(_vector(_REGISTER), [0.0] * _REGISTER)] * 8
            for tap in range(count):
                at = builder.add(offset, context.get_constant(types.intp, tap * LANES))
                taps = _parts(builder, builder.load(_address(context, builder, array_type, array, at, LANES), align=4))
                sums[tap] = builder.fmul(parts[0], taps[0], flags=_FLAGS)
                for a, b in zip(parts[1:], taps[1:], strict=True):
                    sums[tap] = builder.fadd(builder.fmul(a, b, flags=_FLAGS), sums[tap], flags=_FLAGS)
            before = builder.load(_address(context, builder, start_type, start, start_place, 8), align=4)
            after = builder.fadd(before, _gather_sums(builder, sums), flags=_FLAGS)
            builder.store(after, _address(context, builder, out_type, out, place, 8), align=4)
            return context.get_dummy_value()

        arguments = (out, types.intp, start, types.intp, LANES_TYPE, array, types.intp)
        return types.void(*arguments), generate

    return add_dots


# add_N_dots(out, place, start, start_place, vector, array, offset):
# out[place + j] = start[start_place + j] + <vector, array[offset + 64 j :]> for j = 0 .. 7, the products j >= N zero
add_seven_dots = _adder_of_dots(7)
add_eight_dots = _adder_of_dots(8)


def _parts(builder, vector):
    return [_shuffle(builder, vector, vector, range(i, i + _REGISTER)) for i in range(0, LANES, _REGISTER)]


def _gather_sums(builder, vectors):
    """The sums of eight vectors as one vector of eight: halves of two are added until one is left."""
    width = _REGISTER
    while len(vectors) > 1:
        half = width // 2
        starts = range(0, 2 * _REGISTER, width)
        low = [s + i for s in starts for i in range(half)]
        high = [s + half + i for s in starts for i in range(half)]
        vectors = [
            builder.fadd(_shuffle(builder, a, b, low), _shuffle(builder, a, b, high), flags=_FLAGS)
            for a, b in zip(vectors[::2], vectors[1::2], strict=True)
        ]
        width = half
    (last,) = vectors
    even, odd = (_shuffle(builder, last, last, range(i, _REGISTER, 2)) for i in (0, 1))
    return builder.fadd(even, odd, flags=_FLAGS)
