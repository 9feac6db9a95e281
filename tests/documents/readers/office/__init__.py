"""Tests of the readers of office documents."""
