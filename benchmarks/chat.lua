-- wrk's side of the load: a chat request from another user each time, with a bearer key.
-- Arguments: the file with the request's body, the placeholder for the user, the bearer key, the number of users.
-- The requests are made before the run, so that making them costs nothing in it.

local requests, position = {}, 0

function init(arguments)
  local path, placeholder, key, users = arguments[1], arguments[2], arguments[3], tonumber(arguments[4])
  local file = assert(io.open(path))
  local body = file:read("*a")
  file:close()
  local headers = { ["content-type"] = "application/json", ["authorization"] = "Bearer " .. key }
  for user = 1, users do
    requests[user] = wrk.format("POST", "/v1/chat/completions", headers, (body:gsub(placeholder, "user-" .. user)))
  end
end

function request()
  position = position % #requests + 1
  return requests[position]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"seconds":%.6f,"p50_ms":%.4f,"p99_ms":%.4f,"bad_status":%d,"broken":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
