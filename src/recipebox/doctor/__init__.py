"""What is on this machine, what fits together, and the command that mends what does not.

This folder stands by itself: Python 3.8 and the standard library, nothing else of recipebox. Copied anywhere as
`recipebox/doctor` it runs there as `python3 -S -E recipebox/doctor [--json] [--request FILE]`.
"""
