"""Tests of one service on the bench."""
