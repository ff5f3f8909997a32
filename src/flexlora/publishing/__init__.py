"""From a run to a directory that others can load: weights, model card, provenance. To a hub on request."""

from flexlora.publishing.export import Exported, export_run

__all__ = ["Exported", "export_run"]
