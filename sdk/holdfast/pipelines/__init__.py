"""Pipelines: steps one after the other, each given what the one before it returned."""

from holdfast.pipelines.definition import Pipeline, pipeline
from holdfast.pipelines.fitting import IncompatibleSteps

__all__ = ["IncompatibleSteps", "Pipeline", "pipeline"]
