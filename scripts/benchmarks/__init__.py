"""Measurements that are no tests: absolute figures need a quiet machine."""
