"""Detectors: what comes behind a backbone's feature maps, and the boxes that it predicts."""

from tinysight.models.detector.picodet import PicoDet, build_detector

__all__ = ["PicoDet", "build_detector"]
