-- Reads a page of a job's events.
-- KEYS: job, events   ARGV: id, newest first (1) or oldest first (0), bound (exclusive; 0: none), limit
-- Answers the number of the oldest of them, and the events, oldest first.
local job, events = unpack(KEYS)
local id, newest_first, bound, limit = ARGV[1], ARGV[2] == '1', tonumber(ARGV[3]), tonumber(ARGV[4])

if redis.call('EXISTS', job) == 0 then
  return not_found(id)
end
local first, last = bound + 1, bound + limit
if newest_first then
  local count = redis.call('LLEN', events)
  last = bound == 0 and count or math.min(bound - 1, count)
  first = math.max(1, last - limit + 1)
end
if last < first then
  return {'ok', 1, {}}
end
return {'ok', first, redis.call('LRANGE', events, first - 1, last - 1)}
