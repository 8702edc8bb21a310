// Pages that show something that runs: charts and a log that follows.

import { start as startCharts } from "./charts.js";
import { start as startLogs } from "./logs.js";

startCharts();
startLogs();
