"""What the experiments share: options, one command, the training loop, the run directory, downloads, plotting."""
