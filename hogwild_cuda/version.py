"""The version of this distribution. Packaging, the command line and the trace format all read it from here."""

__version__ = "0.1.0"
