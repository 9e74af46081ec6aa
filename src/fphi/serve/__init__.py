"""The page: draw one or a few examples of each class, draw a question, and see what a run answers.

``fphi serve RUN`` on the command line. It needs the extra ``fphi[serve]``.
"""

from fphi.serve.web import app, serve

__all__ = ["app", "serve"]
