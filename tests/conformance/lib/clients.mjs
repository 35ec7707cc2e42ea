// The SDK's clients behind one face. `kind`: v1 (@modelcontextprotocol/sdk), v2
// (@modelcontextprotocol/client, which by default is a client of initialize) or
// new (the same, pinned to 2026-07-28).
import * as v2 from '@modelcontextprotocol/client';
import { StdioClientTransport as StdioV2 }
  from '@modelcontextprotocol/client/stdio';
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport as StdioV1 }
  from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport as HttpV1 }
  from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { WebSocketClientTransport as WsV1 }
  from '@modelcontextprotocol/sdk/client/websocket.js';
import { listen } from './server.mjs';

/// v2 has no WebSocket transport, but takes any object of this form.
class WsV2 {
  constructor(url) {
    this.url = url;
  }
  async start() {
    this.socket = new WebSocket(this.url, 'mcp');
    await new Promise((resolve, reject) => {
      this.socket.onopen = resolve;
      this.socket.onerror = event =>
        reject(event.error ?? new Error('the handshake failed'));
    });
    this.socket.onerror = event => this.onerror?.(event.error);
    this.socket.onclose = () => this.onclose?.();
    this.socket.onmessage = event => this.onmessage?.(JSON.parse(event.data));
  }
  async send(message) {
    this.socket.send(JSON.stringify(message));
  }
  async close() {
    this.socket.close();
  }
}

const info = { name: 'caged-conformance', version: '1.0.0' };

function makeClient(kind) {
  if (kind === 'v1')
    return new ClientV1(info, { capabilities: {} });
  return new v2.Client(info, kind === 'v2' ? {} : {
    versionNegotiation: { mode: { pin: '2026-07-28' } },
  });
}

/// Connects a client. Of what it returns: `client`; `server` (ws, http) with
/// its log; `transport`; `close()` ends client and server.
/// `running`: a server to use, which stays.
export async function connect(kind, mode, program, workspace, running) {
  const client = makeClient(kind);
  let server, transport;
  if (mode === 'stdio') {
    const Stdio = kind === 'v1' ? StdioV1 : StdioV2;
    transport = new Stdio({ command: program, stderr: 'pipe', cwd: workspace,
                            args: ['--workspace', workspace] });
  } else {
    server = running ?? await listen(program, mode, workspace);
    const Web = mode === 'ws' ? (kind === 'v1' ? WsV1 : WsV2)
      : kind === 'v1' ? HttpV1 : v2.StreamableHTTPClientTransport;
    transport = new Web(new URL(server.url));
  }
  // v1 tells the revision to its transport only.
  let version;
  const told = transport.setProtocolVersion?.bind(transport);
  transport.setProtocolVersion = text => {
    version = text;
    told?.(text);
  };
  let log = '';
  transport.stderr?.on('data', text => { log += text; });
  try {
    await client.connect(transport);
  } catch (error) {
    if (!running)
      await server?.stop();
    throw new Error(`cannot connect: ${error.stack}\nThe server says: `
                    + (server?.log ?? log));
  }
  return {
    client, server, transport,
    pid: transport.pid,
    log: () => server?.log ?? log,
    // The typed results differ between the packages; the requests do not.
    call: (name, args = {}, options = undefined) => kind === 'v1'
      ? client.callTool({ name, arguments: args }, undefined, options)
      : client.callTool({ name, arguments: args }, options),
    version: () => version ?? client.getNegotiatedProtocolVersion(),
    close: async () => {
      await client.close();
      return running ? undefined : server?.stop();
    },
  };
}
