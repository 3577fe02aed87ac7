"""What tests of several kinds are written with: cells in memory, processes, collectors, flows that workers load.

Nothing here is a test. A module is about one thing, which its name says; fixtures are in the conftest of their suite.
"""
