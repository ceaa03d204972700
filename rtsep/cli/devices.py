"""``rtsep devices``."""

import msgspec
from rich.table import Table

from rtsep.cli.console import one_line, stdout
from rtsep.live.devices import Device
from rtsep.live.surroundings import JackServer, Surroundings, look_around


def show_devices(*, json: bool = False) -> None:
    """Print what there is to play through, and a command that does.

    Parameters
    ----------
    json : bool
        One line for other programs, with the fields of
        `rtsep.live.surroundings.Surroundings`.
    """
    found = look_around()
    console = stdout()
    if json:
        console.print(
            msgspec.json.encode(found).decode(), markup=False, soft_wrap=True, highlight=False
        )
        return
    if found.jack is not None:
        console.print(_jack_table(found.jack))
    if found.devices:
        console.print(_device_table(found.devices, found.roles))
    for line in _lines(found):
        console.print(one_line(line), markup=False, soft_wrap=True)


def _lines(found: Surroundings) -> list[str]:
    lines = list(found.missing)
    if not found.command:
        lines.append(f"Nothing here plays live audio: {found.reason}.")
        lines.append("Songs need no audio system: rtsep separate SONG -o FOLDER")
        return lines
    if found.pairs:
        pairs = ", ".join(f"{source} -> {sink}" for source, sink in found.pairs)
        lines.append(f"Devices that take all stems, input -> output: {pairs}")
    return [*lines, f"Try ({found.reason}):", f"  {found.command}"]


def _jack_table(server: JackServer) -> Table:
    priority = "real-time" if server.realtime else "not real-time"
    table = _table(
        *("client", "gives", "takes"),
        title=f"JACK server {one_line(server.name)}: {server.sample_rate} Hz, "
        f"{server.block} frames, {priority}",
    )
    for client in server.clients:
        name = one_line(client.name) + (" (sound card)" if client.physical else "")
        table.add_row(name, _ports(client.sources), _ports(client.targets))
    return table


def _ports(ports: tuple[str, ...]) -> str:
    """The first ports' short names, and how many more there are."""
    names = [one_line(port.split(":", 1)[1]) for port in ports]
    more = [f"and {len(names) - 4} more"] if len(names) > 5 else []
    return ", ".join((names[:4] if more else names) + more)


def _device_table(devices: tuple[Device, ...], roles: tuple[str, ...]) -> Table:
    table = _table(
        *("", "device", "host API", "in", "out", "Hz", "latency in/out (ms)", "good for"),
        title="PortAudio",
    )
    for device, role in zip(devices, roles, strict=True):
        latencies = [
            f"{1000 * latency:.1f}" if channels and 0 <= latency < 10 else "-"
            for channels, latency in (
                (device.inputs, device.input_latency_s),
                (device.outputs, device.output_latency_s),
            )
        ]
        table.add_row(
            str(device.index),
            one_line(device.name),
            one_line(device.host_api),
            str(device.inputs),
            str(device.outputs),
            str(device.sample_rate),
            "/".join(latencies),
            role,
        )
    return table


def _table(*columns: str, title: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
