"""The test kit, for users too.

`check_exchange` and `check_store` check the contracts of the ports. `FaultyExchange` and `FaultyStore` fail at chosen
calls. `cancel_everywhere` cancels a scenario after each of its steps. `check_invariants` checks what must hold afterwards.
"""

from trailing.testing.cancellation import cancel_everywhere as cancel_everywhere
from trailing.testing.check_exchange import check_exchange as check_exchange
from trailing.testing.check_store import check_store as check_store
from trailing.testing.exchange_trial import ExchangeUnderTest as ExchangeUnderTest
from trailing.testing.faults import At as At
from trailing.testing.faults import Call as Call
from trailing.testing.faults import Fails as Fails
from trailing.testing.faults import Fault as Fault
from trailing.testing.faults import Faults as Faults
from trailing.testing.faults import FaultyExchange as FaultyExchange
from trailing.testing.faults import Hangs as Hangs
from trailing.testing.faults import Refuses as Refuses
from trailing.testing.faults import ReplyLost as ReplyLost
from trailing.testing.faults import Slow as Slow
from trailing.testing.faults import Throttles as Throttles
from trailing.testing.faults import Unreachable as Unreachable
from trailing.testing.faulty_store import FaultyStore as FaultyStore
from trailing.testing.invariants import CancelledStop as CancelledStop
from trailing.testing.invariants import Key as Key
from trailing.testing.invariants import Snapshot as Snapshot
from trailing.testing.invariants import broken_invariants as broken_invariants
from trailing.testing.invariants import cancelled_for_a_reason as cancelled_for_a_reason
from trailing.testing.invariants import check_invariants as check_invariants
from trailing.testing.invariants import never_crossed_zero as never_crossed_zero
from trailing.testing.invariants import nothing_loosened as nothing_loosened
from trailing.testing.invariants import peak_kept as peak_kept
from trailing.testing.invariants import requests_bounded as requests_bounded
