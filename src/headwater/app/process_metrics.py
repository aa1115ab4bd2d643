"""What every process of Headwater records about itself, whatever it serves."""

from headwater.kernel.metrics import counter, gauge, histogram

STARTED = gauge("process_started_seconds", "Wall time of the start of the process, seconds since the epoch.")
LOOP_LAG = histogram("loop_lag_seconds", "How late the event loop calls what is due: all roles of the process share it.")
RELOADS = counter(
    "config_reloads", "Reloads of the configuration, by result: applied, refused.", "result", known={"result": ("applied", "refused")}
)

METRICS = (STARTED, LOOP_LAG, RELOADS)
