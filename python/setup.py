"""The native half is built already; the wheel is for this Python and machine all the same."""

from setuptools import Distribution, setup


class Built(Distribution):
    def has_ext_modules(self):
        return True


setup(distclass=Built)
