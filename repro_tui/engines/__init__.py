"""Container engines behind one small protocol (base.py)."""
