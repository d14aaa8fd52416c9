"""Stores of stops, intents and events. `open_store` opens one by its address."""

from trailing.stores.memory import MemoryStore as MemoryStore
from trailing.stores.urls import open_store as open_store
