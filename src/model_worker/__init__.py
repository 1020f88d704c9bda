"""A model in its own process.

Parent: `link.WorkerLink`, with `spec`, `calls` and `errors`. Child: `worker`, which imports none of the parent's parts.
A backend is a class that fulfils `model.Model`; nothing of it is imported in the parent.
"""
