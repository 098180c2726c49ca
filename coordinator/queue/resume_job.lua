-- Lets a paused job wait for slots again; of one that is still stopping, what it stops for becomes weaker.
-- KEYS: job, events, queued   ARGV: call, id, message when queued, message when it still stops
local job, events, queued = unpack(KEYS)
local call, id, resumed, early = unpack(ARGV)

if redis.call('EXISTS', job) == 0 then
  return not_found(id)
end
if called_before(job, call) then
  return done(job)
end
local phase, stop = field(job, 'phase'), field(job, 'stop')
if is_final(phase) then
  return ended_already(id, phase)
end
if stop == 'cancel' or stop == 'sweep' then
  return refuse('conflict', 'the job is being cancelled: ' .. id)
end
local now = number_text(now_ms())
if phase == 'paused' then
  redis.call('HSET', job, 'phase', 'queued', 'not_before_ms', '0')
  enqueue(job, id, queued, now)
  remember_call(job, call)
  append_event(job, events, 'info', 'message', resumed, '', now)
elseif phase == 'running' and stop == 'pause' then
  redis.call('HSET', job, 'stop', 'preempt')
  remember_call(job, call)
  append_event(job, events, 'info', 'message', early, '', now)
end
return done(job)
