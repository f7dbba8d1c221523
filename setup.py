"""The parts of the wheel: packages as they lie here, and the folder configs/, which lies within one of them there."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["degradations*", "trainer*"]), "trainer.config.shipped"],
    package_dir={"trainer.config.shipped": "configs"},
    package_data={
        "": ["py.typed", "*.json", "*.html", "*.css", "*.js", "*.safetensors", "LICENSES.txt"],
        "trainer.config.shipped": ["*.yaml", "degradations/*.yaml", "sweeps/*.txt"],
    },
    py_modules=["wildsr"],
)
