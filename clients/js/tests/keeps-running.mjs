// Starts a server, and does not stop it. With `ends`, this program then ends by itself; otherwise it runs on.
import { startWaypost } from "waypost";

const waypost = await startWaypost();
console.log(JSON.stringify({ pid: waypost.pid }));
if (process.argv[2] === "throws") throw new Error("a failed test");
if (process.argv[2] !== "ends") setInterval(() => {}, 1000);
