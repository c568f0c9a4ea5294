"""What tini's suite takes of the package python-prctl."""
import ctypes


def set_child_subreaper(on):
    ctypes.CDLL(None).prctl(36, on, 0, 0, 0)
