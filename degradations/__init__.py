"""Degradations for blind super-resolution: exact, keyed, drawn for each sample, applied from a recipe."""

from degradations.crops import draw_crops, paired_crop
from degradations.draws import Keys, Purpose, normal_fields, normals, philox, uniforms, words
from degradations.jpeg import libjpeg
from degradations.second_order import Recipe, SecondOrder
from degradations.sharpen import usm_sharpen

__all__ = [
    "Keys",
    "Purpose",
    "Recipe",
    "SecondOrder",
    "draw_crops",
    "libjpeg",
    "normal_fields",
    "normals",
    "paired_crop",
    "philox",
    "uniforms",
    "usm_sharpen",
    "words",
]
