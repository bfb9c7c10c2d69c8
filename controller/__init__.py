"""fetchml: a declarative GitOps reconciler for machine-learning experiments."""

__version__ = "0.1.0"
