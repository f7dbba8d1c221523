"""Option files of Real-ESRGAN and opensr-srgan, translated into configurations of this trainer."""
