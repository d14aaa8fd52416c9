"""Steps of the stream, the exchange and the store: outages of a kind, for a while."""

from __future__ import annotations

from simulation.healing.world import Done, World


async def flap(world: World) -> Done:
    """Report that the stream is lost, although it is not, and that it is back."""
    seconds = world.draw.choice((0.1, 3.0))
    await world.stream.report_loss(seconds)
    return f"{seconds:g} s"


async def lose_the_stream(world: World) -> Done:
    """Lose the stream for a while."""
    seconds = world.draw.choice((0.5, 5.0, 30.0))
    await world.stream.lose(seconds)
    return f"{seconds:g} s"


async def silence_the_stream(world: World) -> Done:
    """Let the stream be silent, until this step is drawn again or everything heals."""
    if world.stream.is_silent:
        world.stream.end_silence()
        return "it ends"
    world.stream.silence()
    return "it begins"


async def fail_calls(world: World) -> Done:
    """Let some operations of the exchange fail for a while."""
    return world.calls.begin()


async def fail_the_store(world: World) -> Done:
    """Let the store fail for a while."""
    return world.calls.begin_of_store()
