"""The error function in double: onnxruntime's Erf is float32 only.

Rational approximations of FreeBSD's msun s_erf.c (Sun Microsystems, 1993; under 1 ulp).
"""

from __future__ import annotations

from collections.abc import Sequence

from anyport.graph.build import Builder
from anyport.graph.sklearn import arithmetic as m

PP = (
    1.28379167095512558561e-01,
    -3.25042107247001499370e-01,
    -2.84817495755985104766e-02,
    -5.77027029648944159157e-03,
    -2.37630166566501626084e-05,
)
QQ = (
    1.0,
    3.97917223959155352819e-01,
    6.50222499887672944485e-02,
    5.08130628187576562776e-03,
    1.32494738004321644526e-04,
    -3.96022827877536812320e-06,
)
PA = (
    -2.36211856075265944077e-03,
    4.14856118683748331666e-01,
    -3.72207876035701323847e-01,
    3.18346619901161753674e-01,
    -1.10894694282396677476e-01,
    3.54783043256182359371e-02,
    -2.16637559486879084300e-03,
)
QA = (
    1.0,
    1.06420880400844228286e-01,
    5.40397917702171048937e-01,
    7.18286544141962662868e-02,
    1.26171219808761642112e-01,
    1.36370839120290507362e-02,
    1.19844998467991074170e-02,
)
RA = (
    -9.86494403484714822705e-03,
    -6.93858572707181764372e-01,
    -1.05586262253232909814e01,
    -6.23753324503260060396e01,
    -1.62396669462573470355e02,
    -1.84605092906711035994e02,
    -8.12874355063065934246e01,
    -9.81432934416914548592e00,
)
SA = (
    1.0,
    1.96512716674392571292e01,
    1.37657754143519042600e02,
    4.34565877475229228821e02,
    6.45387271733267880336e02,
    4.29008140027567833386e02,
    1.08635005541779435134e02,
    6.57024977031928170135e00,
    -6.04244152148580987438e-02,
)
RB = (
    -9.86494292470009928597e-03,
    -7.99283237680523006574e-01,
    -1.77579549177547519889e01,
    -1.60636384855821916062e02,
    -6.37566443368389627722e02,
    -1.02509513161107724954e03,
    -4.83519191608651397019e02,
)
SB = (
    1.0,
    3.03380607434824582924e01,
    3.25792512996573918826e02,
    1.53672958608443695994e03,
    3.19985821950859553908e03,
    2.55305040643316442583e03,
    4.74528541206955367215e02,
    -2.24409524465858183362e01,
)
ERX = 8.45062911510467529297e-01


def polynomial(b: Builder, value: str, coefficients: Sequence[float]) -> str:
    """c0 + c1 v + c2 v² …, by Horner's rule."""
    result = b.constant(float(coefficients[-1]))
    for c in reversed(coefficients[:-1]):
        result = m.shift(b, b.add("Mul", [result, value]), c)
    return result


def ratio(b: Builder, value: str, above: Sequence[float], below: Sequence[float]) -> str:
    return b.add("Div", [polynomial(b, value, above), polynomial(b, value, below)])


def erf(b: Builder, value: str) -> str:
    """erf(v), elementwise; NaN stays NaN."""
    size = b.add("Abs", [value])
    # Each range sees only values of its own, so that none overflows where another is meant.
    near = b.add("Min", [size, b.constant(0.84375)])
    square = m.square(b, near)
    small = b.add("Add", [near, b.add("Mul", [near, ratio(b, square, PP, QQ)])])
    offset = m.shift(b, b.add("Clip", [size, b.constant(0.84375), b.constant(1.25)]), -1.0)
    middle = m.shift(b, ratio(b, offset, PA, QA), ERX)
    large = tail(b, b.add("Clip", [size, b.constant(1.25), b.constant(1 / 0.35)]), RA, SA)
    huge = tail(b, b.add("Clip", [size, b.constant(1 / 0.35), b.constant(6.0)]), RB, SB)
    result = huge
    for limit, part in ((1 / 0.35, large), (1.25, middle), (0.84375, small)):
        result = b.add("Where", [b.add("Less", [size, b.constant(limit)]), part, result])
    result = b.add("Where", [b.add("IsNaN", [value]), value, result])
    return b.add("Mul", [result, b.add("Sign", [value])])


def tail(b: Builder, size: str, above: Sequence[float], below: Sequence[float]) -> str:
    """1 - exp(-v² - 0.5625 + R(1/v²) / S(1/v²)) / v."""
    square = m.square(b, size)
    share = ratio(b, b.add("Div", [b.constant(1.0), square]), above, below)
    power = b.add("Exp", [b.add("Sub", [share, m.shift(b, square, 0.5625)])])
    return b.add("Sub", [b.constant(1.0), b.add("Div", [power, size])])


def normal_cdf(b: Builder, value: str) -> str:
    """Φ(v), to about 1e-16 absolute."""
    return m.scale(b, m.shift(b, erf(b, m.scale(b, value, 0.5**0.5)), 1.0), 0.5)
