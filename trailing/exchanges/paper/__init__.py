"""The embedded paper exchange: it matches like a venue, and answers like one that is some way off."""

from trailing.exchanges.paper.exchange import PaperExchange as PaperExchange
from trailing.exchanges.paper.limits import RateLimit as RateLimit
from trailing.exchanges.paper.opening import open_paper as open_paper
from trailing.exchanges.paper.requests import Booking as Booking
