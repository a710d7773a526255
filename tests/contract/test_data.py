"""Names, networks, switches and folders are data behind both ports, whatever they contain."""

import json
from dataclasses import replace

import pytest

from engine.errors import VmmRefused, VmmStale
from engine.model import AdapterRepair, Network, Repair
from engine.sim.fleet_file import parse
from tests.contract.conftest import (
    DB01,
    FLEET,
    HOSTS,
    HV01,
    HV02,
    WAYS,
    WEB01,
    WIRED,
    Begin,
    Scene,
    Wire,
)
from tests.powershell.pwsh import needs_checks

TEXTS = {
    "single quote": "it's; 'quoted' '",
    "typographic quotes": "‘it’s’ “so” „und“",
    "double quote": 'say "web" "',
    "backtick": "web`n`t`0`",
    "subexpression": "$(throw 'ran') $env:PATH ${x} @(1)",
    "semicolon": "web; throw 'ran'; #",
    "pipe": "web | ForEach-Object { throw } & calc",
    "newlines": "web\r\n\r\nthrow 'ran'\n\n\texit 1",
    "unicode": "Größe データ \U0001f600 \u202e \u2028 e\u0301",
    "255 characters": "x" * 255,
    "XML": "<b>&amp;</b> ]]> <!--",
    "escapes of PSRP": "_x000A_ _x005F_ _x0000_ __x",
    "escapes of JSON": '\\u0041 \\n {"ok":false,"class":"unavailable"}\\',
    "an error of VMM": "web (Error ID: 2606, Detailed Error: )",
    "a format": "{0} {{1}} } %s %(x)s --%",
    "wildcards": "[web]* ? ~",
    "a parameter": "-WhatIf:$false --",
    "spaces at its ends": "  web  ",
}
strange = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)


@pytest.fixture(params=WAYS)
def named(request: pytest.FixtureRequest, begin: Begin, text: str) -> Scene:
    """Both ports; this text is in the names of the VMs, a VM network and the switch."""
    quoted = json.dumps(text, ensure_ascii=False)
    fleet = FLEET.replace('"web01"', quoted).replace('"VM-Net-20"', quoted)
    fleet = fleet.replace('name = "db01"', f"name = {json.dumps(text + '2', ensure_ascii=False)}")
    fleet = fleet.replace("vlan = 20\n", f"vlan = 20\nswitch = {quoted}\n")
    return begin(request.param, parse(fleet))


@strange
def test_a_name_is_read_back_unchanged(named, text):
    fleet = named.observe(HOSTS)

    assert fleet.vm(WEB01).name == text
    assert fleet.vm(WEB01).seen_on == (HV01,)
    assert list(named.networks(HV01, [DB01])[DB01].adapters) == named.nics(DB01)
    assert named.nics(DB01)[1].network == named.nics(DB01)[1].switch == text


@strange
def test_a_vm_with_an_unusual_name_moves_and_keeps_its_networks(named, text):
    before = list(named.nics(DB01))

    named.start(WEB01)
    named.start(DB01, power="down", pin=Network(tuple(before[:2])))
    named.pass_by(600)

    assert named.places(WEB01) == named.places(DB01) == [HV02]
    assert named.nics(DB01) == before


@strange
def test_a_network_and_a_switch_with_unusual_names_are_restored(named, text):
    before = list(named.nics(DB01))
    named.world.state.vms[DB01].nics[1] = replace(
        before[1], network=None, switch=None, vlan=0, connected=False
    )

    lost = AdapterRepair(before[1].id, before[1].mac, text, text, 20)
    named.put_back(DB01, Repair(HV01, (lost,)))

    assert named.nics(DB01) == before


@strange
def test_an_error_that_quotes_an_unusual_name_keeps_its_class(named, text):
    with pytest.raises(VmmStale) as stale:
        named.start(power="down")
    assert f"{text} is Running, not down" in str(stale.value)

    named.world.power(named.now, f"id:{WEB01}", "UpdateFailed")
    with pytest.raises(VmmRefused) as refused:
        named.start()
    assert refused.value.code == ""


@strange
def test_an_unknown_host_with_an_unusual_name_is_refused(named, text):
    with pytest.raises(VmmRefused) as caught:
        named.start(WEB01, HV01, text)

    assert f"VMM knows no host {text}" in str(caught.value)
    assert named.observe().jobs == ()


@strange
@needs_checks
def test_a_folder_with_an_unusual_name_reaches_the_move_unchanged(begin: Begin, wire: Wire, text):
    there = begin(WIRED, parse(FLEET))

    there.start(path=text)

    (call,) = wire.calls("Move-SCVirtualMachine")
    assert call.bound["Path"] == text
