"""Constant tables of JPEG: quantisation (ITU-T T.81, Annex K.1) and libjpeg's integer DCT."""

# rows are vertical frequencies, columns horizontal ones
LUMA_QUANTISATION = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA_QUANTISATION = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *(((99,) * 8,) * 4),
)

# One pass of jfdctint.c before its rounding shift, as a matrix (frequency by sample): 2^13 sqrt(2) times the
# orthonormal DCT, with the rounding of the butterfly's 13-bit constants (11362 beside 11363). Samples 4..7 mirror 3..0,
# with opposite sign in odd rows. The inverse pass of jidctint.c is its transpose.
_DCT_HALF = (
    (8192, 8192, 8192, 8192),
    (11363, 9633, 6437, 2260),
    (10703, 4433, -4433, -10703),
    (9633, -2259, -11362, -6436),
    (8192, -8192, -8192, 8192),
    (6437, -11362, 2261, 9633),
    (4433, -10704, 10704, -4433),
    (2260, -6436, 9633, -11363),
)
ISLOW_DCT = tuple(half + tuple((-1) ** row * value for value in reversed(half)) for row, half in enumerate(_DCT_HALF))
