"""A read-only page and metrics, in the bot's process or from a store alone. The extra `trailing[web]` installs what they need."""

from trailing.web.metrics import Metrics as Metrics
from trailing.web.serve import serve as serve
from trailing.web.serve import serve_store as serve_store
