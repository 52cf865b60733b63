"""A short siege: what scripts/attack does at length."""
import hostile
import siege
from scenarios.base import scenario


@scenario(quick=True)
def hostile_clients():
    siege.attacked("half_open", hostile.half_open, 1)
    siege.attacked("garbage", hostile.garbage, 1)


@scenario(quick=True)
def hostile_hosts():
    siege.at_hosts("out_of_step", hostile.out_of_step, 1)
