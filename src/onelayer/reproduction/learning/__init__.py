"""Learn a dense layer from images and a pipeline."""
