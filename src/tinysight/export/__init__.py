"""From a run to a bundle, with a certificate that both give the same results."""
