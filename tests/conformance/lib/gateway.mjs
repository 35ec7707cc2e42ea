// A node with one sandbox, and its gateway as an MCP server: clients that know
// nothing of tokens reach it through a small proxy, which adds the header and
// changes nothing else.
import { execFileSync, spawn } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync }
  from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { eventually } from './check.mjs';

/// `program` is what runs in the sandbox, in the place of caged-mcp-server; the
/// other programs lie beside it. As listen() of server.mjs.
export async function throughGateway(program) {
  const bin = dirname(program);
  const work = mkdtempSync(join(tmpdir(), 'gateway-'));
  const inside = join(work, 'inside');
  mkdirSync(inside);
  copyFileSync(join(bin, 'caged-agent'), join(inside, 'caged-agent'));
  copyFileSync(program, join(inside, 'caged-mcp-server'));
  const run = join(work, 'run');
  const child = spawn(join(bin, 'caged-node'), [
    '--data-dir', join(work, 'data'), '--run-dir', run, '--agent-dir', inside,
    '--metrics-address', '127.0.0.1:0', '--gateway-address', '127.0.0.1:0',
  ], { stdio: ['ignore', 'ignore', 'pipe'] });
  const server = { child, log: '', ended: false };
  child.stderr.setEncoding('utf8').on('data', text => { server.log += text; });
  const ended = new Promise(resolve => child.on('exit', resolve))
    .then(() => { server.ended = true; });
  const caged = (...args) => execFileSync(join(bin, 'caged'), args, {
    encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, CAGED_ENDPOINT: `ipc://${run}/node.sock` },
  });
  const works = (...args) => {
    try {
      caged(...args);
      return true;
    } catch {
      return false;
    }
  };
  let proxy;
  server.stop = async () => {
    proxy?.closeAllConnections();
    await new Promise(resolve => proxy ? proxy.close(resolve) : resolve());
    works('node', 'shutdown', '--destroy-all');
    const clock = setTimeout(() => child.kill('SIGKILL'), 20_000);
    await ended;
    clearTimeout(clock);
    rmSync(work, { recursive: true, force: true });
    return { code: child.exitCode, signal: child.signalCode };
  };
  try {
    if (!await eventually(() => server.ended || works('node', 'status'))
        || server.ended)
      throw new Error(`the node does not answer: ${server.log}`);
    caged('up', '--name', 'web', '--no-config');
    const token = JSON.parse(
      caged('token', 'create', '--sandbox', 'web', '--format', 'json'));
    const address = readFileSync(join(run, 'gateway-address'), 'utf8').trim();
    const [host, port] = address.split(':');
    const path = new URL(token.url).pathname;
    proxy = http.createServer((from, to) => {
      const up = http.request({
        host, port, method: from.method, path,
        headers: { ...from.headers, authorization: `Bearer ${token.token}` },
      }, answer => {
        to.writeHead(answer.statusCode, answer.headers);
        to.flushHeaders();
        answer.pipe(to);
        answer.on('error', () => to.destroy());
      });
      up.on('error', () => to.destroy());
      to.on('close', () => up.destroy());
      from.pipe(up);
    });
    await new Promise(resolve => proxy.listen(0, '127.0.0.1', resolve));
    server.url = `http://127.0.0.1:${proxy.address().port}/mcp`;
    return server;
  } catch (error) {
    await server.stop();
    throw error;
  }
}
