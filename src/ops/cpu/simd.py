"""Vectors of 64, 16 or 8 floats as values inside Numba kernels; in memory they are float32, or bfloat16 as uint16.

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
SHORT = 16  # the widest register; narrower machines split it
ROW = 8  # taps of a row of the window, and one place that is left over
WINDOW = 7
EXCLUDED = -1e30  # logit of taps that take no part: finite, as infinities would need slower comparisons
_FLAGS = ("contract", "nsz")


class Vector(types.Type):
    """The Numba type of `size` floats."""

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(f"Vector({size})")


@register_model(Vector)
class _Model(models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:
        super().__init__(dmm, fe_type, _vector(fe_type.size))


def _vector(size):
    return ir.VectorType(ir.FloatType(), size)


def _address(context, builder, array_type, array, offset, size):
    """Address of `size` elements of a float32 array, or of a uint16 array that holds bfloat16."""
    data = context.make_array(array_type)(context, builder, array).data
    kind = ir.VectorType(ir.IntType(16), size) if array_type.dtype == types.uint16 else _vector(size)
    return builder.bitcast(builder.gep(data, [offset]), kind.as_pointer())


def _read(context, builder, array_type, array, offset, size):
    """Load `size` numbers as floats."""
    address = _address(context, builder, array_type, array, offset, size)
    if array_type.dtype != types.uint16:
        return builder.load(address, align=4)
    wide = builder.zext(builder.load(address, align=2), _integers(size))
    return builder.bitcast(builder.shl(wide, _equal(size, 16)), _vector(size))


def _integers(size):
    return ir.VectorType(ir.IntType(32), size)


def _equal(size, value):
    if isinstance(value, float):
        return ir.Constant(_vector(size), [value] * size)
    return ir.Constant(_integers(size), [value] * size)


def _rounded(builder, vector):
    """Bits of floats whose upper halves are the nearest bfloat16, even ones in ties."""
    size = vector.type.count
    bits = builder.bitcast(vector, _integers(size))
    odd = builder.and_(builder.lshr(bits, _equal(size, 16)), _equal(size, 1))
    return builder.add(builder.add(bits, odd), _equal(size, 0x7FFF))


def _call(builder, name, vector):
    """A function of LLVM on floats, such as the absolute value."""
    kind = ir.FunctionType(vector.type, [vector.type])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{vector.type.count}f32")
    return builder.call(function, [vector])


def _larger(builder, a, b):
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _shuffle(builder, a, b, order):
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(order)), list(order))
    return builder.shuffle_vector(a, b, mask)


def _loader(size):
    @intrinsic
    def load(typing, array, offset):
        def generate(context, builder, signature, arguments):
            return _read(context, builder, signature.args[0], *arguments, size)

        return Vector(size)(array, types.intp), generate

    return load


def _splatter(size):
    @intrinsic
    def splat(typing, scalar):
        def generate(context, builder, signature, arguments):
            unset, zero = ir.Constant(_vector(size), ir.Undefined), ir.Constant(ir.IntType(32), 0)
            first = builder.insert_element(unset, arguments[0], zero)
            return _shuffle(builder, first, first, [0] * size)

        return Vector(size)(types.float32), generate

    return splat


# load(array, offset): the numbers from that position of a contiguous array; splat(scalar): equal floats
load, load_short, load_row, load_one = _loader(LANES), _loader(SHORT), _loader(ROW), _loader(1)
splat, splat_short, splat_row = _splatter(LANES), _splatter(SHORT), _splatter(ROW)


@intrinsic
def store(typing, array, offset, vector):
    """Write a vector to position `offset` of a contiguous array, rounded to bfloat16 where that is uint16."""

    def generate(context, builder, signature, arguments):
        *place, value = arguments
        _write(context, builder, signature.args[0], *place, value)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


def _write(context, builder, array_type, array, offset, value, finite=False):
    size = value.type.count
    address = _address(context, builder, array_type, array, offset, size)
    if array_type.dtype != types.uint16:
        builder.store(value, address, align=4)
        return
    upper = builder.lshr(_rounded(builder, value), _equal(size, 16))
    if not finite:  # rounding could carry a NaN's bits into the sign
        upper = builder.select(builder.fcmp_ordered("ord", value, value), upper, _equal(size, 0x7FC0))
    builder.store(builder.trunc(upper, ir.VectorType(ir.IntType(16), size)), address, align=2)


@intrinsic
def multiply_add(typing, a, b, c):
    """a * b + c."""

    def generate(context, builder, signature, arguments):
        a, b, c = arguments
        return builder.fadd(builder.fmul(a, b, flags=_FLAGS), c, flags=_FLAGS)

    return a(a, b, c), generate


@intrinsic
def add(typing, a, b):
    """a + b."""

    def generate(context, builder, signature, arguments):
        return builder.fadd(*arguments, flags=_FLAGS)

    return a(a, b), generate


@intrinsic
def distance(typing, a, b):
    """|a - b|."""

    def generate(context, builder, signature, arguments):
        return _call(builder, "fabs", builder.fsub(*arguments, flags=_FLAGS))

    return a(a, b), generate


@intrinsic
def positive(typing, a):
    """max(a, 0)."""

    def generate(context, builder, signature, arguments):
        return _larger(builder, arguments[0], _equal(a.size, 0.0))

    return a(a), generate


@intrinsic
def sigmoid(typing, a):
    """1 / (1 + exp(-a)), to 2e-7."""

    def generate(context, builder, signature, arguments):
        one, zero = _equal(a.size, 1.0), _equal(a.size, 0.0)
        size = _call(builder, "fabs", arguments[0])
        below = _exp(builder, builder.fsub(zero, size, flags=_FLAGS))
        above = builder.select(builder.fcmp_ordered("<", arguments[0], zero), below, one)
        return builder.fdiv(above, builder.fadd(one, below, flags=_FLAGS), flags=_FLAGS)

    return a(a), generate


@intrinsic
def total(typing, a):
    """The sum of a vector."""

    def generate(context, builder, signature, arguments):
        return _total(builder, arguments[0])

    return types.float32(a), generate


def _total(builder, vector):
    """Sum of a vector, halves of it first."""
    while vector.type.count > 1:
        half = vector.type.count // 2
        low, high = (_shuffle(builder, vector, vector, range(i, i + half)) for i in (0, half))
        vector = _sum(builder, low, high)
    return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))


@intrinsic
def store_sums(typing, array, offset, a, b, c, d, e, f, g, h):
    """Write the sums of eight vectors of 16."""

    def generate(context, builder, signature, arguments):
        array, offset, *vectors = arguments
        _write(context, builder, signature.args[0], array, offset, _gather_sums(builder, vectors))
        return context.get_dummy_value()

    return types.void(array, types.intp, *[Vector(SHORT)] * ROW), generate


def _gather_sums(builder, vectors):
    """The sums of eight vectors as one vector of eight: halves of two are added until one is left."""
    width = SHORT
    while len(vectors) > 1:
        half = width // 2
        starts = range(0, 2 * SHORT, width)
        low = [s + i for s in starts for i in range(half)]
        high = [s + half + i for s in starts for i in range(half)]
        vectors = [
            builder.fadd(_shuffle(builder, a, b, low), _shuffle(builder, a, b, high), flags=_FLAGS)
            for a, b in zip(vectors[::2], vectors[1::2], strict=True)
        ]
        width = half
    (last,) = vectors
    even, odd = (_shuffle(builder, last, last, range(i, SHORT, 2)) for i in (0, 1))
    return builder.fadd(even, odd, flags=_FLAGS)


@intrinsic
def softmax_taps(typing, known, number, out, place, out_step, out_stride, logits, at, step, stride, start, bias, rows):
    """Softmax of pixels `number` and `number` + 1 over a window of 7 rows of 8 places; `start` excludes their last.

    Row r of the first pixel's logits lies at `at` + r stride, those of the second `step` further; start[8 r :] and
    bias[rows[r] + number :] are added. Weights go to `out` in the same way. known[number] is 1; or 0 where every tap
    is excluded, and the weights are 0.
    """

    def generate(context, builder, signature, arguments):
        known, number, out, place, out_step, out_stride, logits, at, step, stride, start, bias, rows = arguments
        known_type, _, out_type, _, _, _, logits_type, _, _, _, start_type, bias_type, _ = signature.args

        def constant(value):
            return context.get_constant(types.intp, value)

        def both(array_type, array, first, distance):
            halves = (first, builder.add(first, distance))
            return _joined(builder, *(_read(context, builder, array_type, array, half, ROW) for half in halves))

        values = []
        for r in range(WINDOW):
            value = both(logits_type, logits, builder.add(at, builder.mul(stride, constant(r))), step)
            value = builder.fadd(value, both(start_type, start, constant(ROW * r), constant(0)), flags=_FLAGS)
            where = builder.add(builder.extract_value(rows, r), number)
            values.append(builder.fadd(value, both(bias_type, bias, where, constant(1)), flags=_FLAGS))
        top = _within_rows(builder, _larger, values)
        reached = builder.fcmp_ordered(">", top, _equal(SHORT, EXCLUDED / 2))
        values = [_exp(builder, builder.fsub(value, top, flags=_FLAGS)) for value in values]
        total = _within_rows(builder, _sum, values)
        factor = builder.fdiv(_equal(SHORT, 1.0), total, flags=_FLAGS)
        factor = builder.select(reached, factor, _equal(SHORT, 0.0))
        for r, value in enumerate(values):
            weight, first = (
                builder.fmul(value, factor, flags=_FLAGS),
                builder.add(place, builder.mul(out_stride, constant(r))),
            )
            for half, offset in enumerate((first, builder.add(first, out_step))):
                part = _shuffle(builder, weight, weight, range(ROW * half, ROW * (half + 1)))
                _write(context, builder, out_type, out, offset, part, finite=True)
        flags = builder.select(reached, _equal(SHORT, 1.0), _equal(SHORT, 0.0))
        _write(context, builder, known_type, known, number, _shuffle(builder, flags, flags, (0, ROW)))
        return context.get_dummy_value()

    i = types.intp
    return types.void(known, i, out, i, i, i, logits, i, i, i, start, bias, types.UniTuple(i, WINDOW)), generate


def _joined(builder, a, b):
    return _shuffle(builder, a, b, range(2 * ROW))


def _sum(builder, a, b):
    return builder.fadd(a, b, flags=_FLAGS)


def _within_rows(builder, function, vectors):
    """Combine vectors of two rows, then the places of each row; each place gets the result of its row."""
    combined = vectors[0]
    for vector in vectors[1:]:
        combined = function(builder, combined, vector)
    for distance in (4, 2, 1):
        other = _shuffle(builder, combined, combined, [i ^ distance for i in range(SHORT)])
        combined = function(builder, combined, other)
    return combined


def _exp(builder, x):
    """exp(x) for x <= 0, to 2e-7, and 0 from -88 on; without a vector libm, LLVM would call expf once per number."""
    size = x.type.count

    def constant(value):
        return _equal(size, float(value))

    def fma(a, b, c):
        return builder.fadd(builder.fmul(a, b, flags=_FLAGS), c, flags=_FLAGS)

    held = _larger(builder, x, constant(-88))  # where the power below is 0
    n = _call(builder, "floor", fma(held, constant(1.4426950408889634), constant(0.5)))
    # ln 2 in two parts keeps the remainder exact
    f = fma(n, constant(2.12194440e-4), fma(n, constant(-0.693359375), held))
    p = constant(1.9875691500e-4)
    for term in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
        p = fma(p, f, constant(term))
    p = builder.fadd(fma(builder.fmul(f, f, flags=_FLAGS), p, f), constant(1), flags=_FLAGS)
    power = builder.shl(builder.add(builder.fptosi(n, _integers(size)), _equal(size, 127)), _equal(size, 23))
    return builder.fmul(p, builder.bitcast(power, _vector(size)), flags=_FLAGS)
