-- Appends an event of the current attempt. One that carries a number of its source is stored once.
-- KEYS: job, events, told
-- ARGV: call, id, attempt, source number (0: none), level, type, message, data, created_at_ms (0: now)
local job, events, told = unpack(KEYS)
local call, id, attempt, source, level, kind, message, data, created = unpack(ARGV)

if redis.call('EXISTS', job) == 0 then
  return not_found(id)
end
if called_before(job, call) then
  return {'ok'}
end
local current = field(job, 'attempt')
if current ~= attempt then
  return refuse('conflict', 'event of attempt ' .. attempt .. ', the job is in attempt ' .. current ..
                ': ' .. id)
end
if source == '0' then
  remember_call(job, call)
elseif redis.call('SADD', told, attempt .. ':' .. source) == 0 then
  return {'ok'}
end
if created == '0' then
  created = number_text(now_ms())
end
append_event(job, events, level, kind, message, data, created)
return {'ok'}
