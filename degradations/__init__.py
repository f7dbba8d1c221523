"""Degradations for blind super-resolution: exact, keyed, drawn for each sample, applied from a recipe."""

from degradations.keyed_random import Keys, Purpose, normal_fields, normals, philox, uniforms, words
from degradations.operations.crops import draw_crops, paired_crop
from degradations.operations.jpeg import libjpeg
from degradations.operations.sharpen import usm_sharpen
from degradations.parse import Degradation, parse_degradation
from degradations.pipeline import Pipeline, PipelineRecipe
from degradations.recipes import Recipe
from degradations.second_order import SecondOrder, SecondOrderRecipe

__all__ = [
    "Degradation",
    "Keys",
    "Pipeline",
    "PipelineRecipe",
    "Purpose",
    "Recipe",
    "SecondOrder",
    "SecondOrderRecipe",
    "draw_crops",
    "libjpeg",
    "normal_fields",
    "normals",
    "paired_crop",
    "parse_degradation",
    "philox",
    "uniforms",
    "usm_sharpen",
    "words",
]
