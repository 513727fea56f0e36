"""The version of this distribution; everything that needs it reads it from here."""

__version__ = "0.1.0"
