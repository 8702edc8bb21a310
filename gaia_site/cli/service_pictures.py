"""Services as text that fits 80 columns; icons and words as in the console."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from common.durations import format_duration
from gaia_site.cli.pictures import age, icon, wrapped

_BARS = "▁▂▃▄▅▆▇█"
_BAR_COUNT = 48
_UNITS = ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB"))
_CONDITIONS = {
    "started": "runs",
    "healthy": "is ready",
    "completed": "has completed",
    "log_line": "has written a line",
}
_TROUBLE = ("held", "unready", "backoff", "crash_loop", "failed")


def service_list(services: Sequence[dict[str, Any]]) -> str:
    """A line each, and below those that are not well what is wrong."""
    if not services:
        return "No services. Register one: gaia service register FILE, or --name NAME -- COMMAND"
    lines = []
    for one in services:
        lines.append(_line(one))
        if one["problem"] and one["state"] in _TROUBLE:
            lines += wrapped("    ", one["problem"])
    ready = sum(one["state"] == "running" for one in services)
    noun = "service" if len(services) == 1 else "services"
    return "\n".join([*lines, "", f"{len(services)} {noun}, {ready} running"])


def _line(one: dict[str, Any]) -> str:
    port = f":{one['port']}" if one["port"] else ""
    return (
        f"{icon(one['state'])} {word(one['state']):<10} {one['name'][:24]:<24} {_health(one):<6} "
        f"{percent(one['cpu']):>6} {size(one['memory']):>8} {_since(one):>4}  {port}"
    ).rstrip()


def service_page(one: dict[str, Any]) -> str:
    """All there is to say of one service."""
    lines = [f"{icon(one['state'])} {one['name']}: {word(one['state'])} since {_since(one)}"]
    if one["title"]:
        lines[0] += f" ({one['title']})"
    if one["problem"]:
        lines += wrapped("  ", one["problem"])
    if one["outdated"]:
        lines += wrapped("  ", "it runs as it was defined before; a restart has it follow its new definition")
    facts = {
        "wanted": one["desired"],
        "pid": one["pid"],
        "port": one["port"],
        "up for": None if one["uptime_s"] is None else format_duration(one["uptime_s"]),
        "CPU": percent(one["cpu"]),
        "memory": size(one["memory"]),
        "restarts": one["restarts"],
        "next start": one["next_start_at"] and clock(one["next_start_at"]),
    }
    lines += [f"  {name:<12} {value}" for name, value in facts.items() if value not in (None, "", "-")]
    lines += probe_lines(one["probes"])
    for limit in one["limits"]:
        lines.append(f"  limit        {limit_line(limit)}")
    for need in one["depends_on"]:
        met = "✓" if need["met"] else "✗"
        lines.append(f"  needs        {met} {need['name']} {_CONDITIONS.get(need['condition'], need['condition'])}")
    if one["dependents"]:
        lines += wrapped("  needed by    ", ", ".join(one["dependents"]))
    return "\n".join(lines)


def probe_lines(probes: Sequence[dict[str, Any]]) -> list[str]:
    """A line or two for each probe."""
    lines = []
    for probe in probes:
        state = "unknown" if probe["ok"] is None else "ok" if probe["ok"] else "failed"
        state = "starting" if probe["coming_up"] else state
        took = f"{probe['took_ms']:.0f} ms" if probe["took_ms"] is not None and probe["checked_at"] else "not asked yet"
        when = f", {ago(probe['checked_at'])}" if probe["checked_at"] else ""
        lines.append(f"  {icon(state)} {probe['name']} ({probe['purpose']}, {probe['kind']}): {took}{when}")
        lines += wrapped("      ", probe["answer"]) if probe["answer"] else []
    return lines


def limit_line(limit: dict[str, Any]) -> str:
    """`memory 512 MB, 120 MB used, kept by cgroup`."""
    from processes.limits import figure

    name, most, used = limit["name"], limit["limit"], limit["used"]
    used_text = f", {figure(name, used)} used" if used is not None else ""
    kept = f", kept by {limit['kept_by']}" if limit["kept_by"] else ""
    return f"{name.rpartition('_')[0].replace('_', ' ')} {figure(name, most)}{used_text}{kept}" + (
        " ▲" if limit["warning"] else ""
    )


def figures(data: dict[str, Any]) -> str:
    """CPU and memory over time, as bars with their average and highest value."""
    points = data["points"]
    if not points:
        return "Nothing was measured in that time."
    lines = []
    for name, average, most, show in (("CPU", 1, 2, percent), ("memory", 3, 4, size)):
        values = [point[average] for point in points]
        mean, highest = sum(values) / len(values), max(point[most] for point in points)
        lines.append(f"{name:<7} {_bars(values)}")
        lines.append(f"        now {show(values[-1])}, average {show(mean)}, most {show(highest)}")
    begin, end = clock(points[0][0]), clock(points[-1][0])
    return "\n".join([*lines, f"        {begin} to {end}, a point every {format_duration(data['seconds'])}"])


def _bars(values: Sequence[float]) -> str:
    width = -(-len(values) // _BAR_COUNT)
    means = [sum(some) / len(some) for some in (values[at : at + width] for at in range(0, len(values), width))]
    top = max(means) or 1.0
    return "".join(_BARS[min(7, int(value / top * 7.999))] for value in means)


def word(state: str) -> str:
    return state.replace("_", " ")


def percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} %"


def size(value: float | None) -> str:
    """Bytes in a unit of which there are at least one: `123 MB`."""
    if value is None:
        return "-"
    for unit, name in _UNITS:
        if value >= unit:
            return f"{value / unit:.0f} {name}" if value / unit >= 10 else f"{value / unit:.1f} {name}"
    return f"{value:.0f} B"


def moment(at: Any) -> datetime:
    """A time as JSON has it, or as it is."""
    if isinstance(at, datetime):
        return at
    return datetime.fromtimestamp(at, UTC) if isinstance(at, int | float) else datetime.fromisoformat(at)


def clock(at: Any) -> str:
    """The time of day here, with the date when it is another one."""
    local = moment(at).astimezone()
    return f"{local:%H:%M:%S}" if local.date() == datetime.now().astimezone().date() else f"{local:%Y-%m-%d %H:%M}"


def ago(at: Any) -> str:
    return f"{age(int((datetime.now(UTC) - moment(at)).total_seconds()))} ago"


def _since(one: dict[str, Any]) -> str:
    return age(int((datetime.now(UTC) - moment(one["since"])).total_seconds()))


def _health(one: dict[str, Any]) -> str:
    asked = [probe for probe in one["probes"] if probe["ok"] is not None]
    if not one["probes"]:
        return "-"
    return f"{sum(bool(probe['ok']) for probe in asked)}/{len(one['probes'])} ok"
