"""Tests of the stored notebooks, README, set-up cell, and of what people do with them."""
