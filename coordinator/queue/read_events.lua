-- Reads a page of a job's events.
-- KEYS: job, events   ARGV: id, newest first (1) or oldest first (0), bound (exclusive; 0: none), limit
local job, events = unpack(KEYS)
local id, newest_first, bound, limit = ARGV[1], ARGV[2] == '1', tonumber(ARGV[3]), ARGV[4]

if redis.call('EXISTS', job) == 0 then
  return not_found(id)
end
if not newest_first then
  return {'ok', redis.call('XRANGE', events, number_text(bound + 1) .. '-0', '+', 'COUNT', limit)}
end
if bound == 1 then
  return {'ok', {}}
end
local last = bound == 0 and '+' or number_text(bound - 1) .. '-0'
return {'ok', redis.call('XREVRANGE', events, last, '-', 'COUNT', limit)}
